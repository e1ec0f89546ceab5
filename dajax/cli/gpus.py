"""Which NVIDIA GPUs the runs of this process will find. Imports no jax, which would take them."""

import os
import shutil
import subprocess
from importlib import metadata

_CUDA_PLUGINS = ("xla_cuda12", "xla_cuda13")  # names of jax's entry points
_PLATFORMS = {"cuda", "gpu"}  # of JAX_PLATFORMS
_SECONDS = 30  # for nvidia-smi, which takes one or two; ours


def has_cuda_plugin():
    """Whether JAX is installed with CUDA."""
    plugins = metadata.entry_points(group="jax_plugins")
    return any(name in plugins.names for name in _CUDA_PLUGINS)


def visible():
    """Values of CUDA_VISIBLE_DEVICES, one for each GPU that JAX may use; [] where it uses none."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if not has_cuda_plugin() or (platforms and not _PLATFORMS & set(platforms.split(","))):
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        # CUDA takes those before the first that it does not know: "-1" is the usual word for none
        names = [name.strip() for name in named.split(",")]
        return names[: next((i for i, x in enumerate(names) if x in ("", "-1")), len(names))]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    listed = subprocess.run(
        [program, "--query-gpu=uuid", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    return listed.stdout.split() if listed.returncode == 0 else []
