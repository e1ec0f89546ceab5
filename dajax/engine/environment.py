"""What the process brings along and no config names: settings that change the numbers, and the
cache of compiled programs.
"""

import os
import pathlib
import re
import shlex

import jax

from dajax import console
from dajax.engine import json_files
from dajax.errors import UserError

FILE = "environment.json"
# Of jax.config, those that change what is computed: number types, products, random numbers, how
# programs are compiled.
JAX_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_enable_custom_prng",
    "jax_high_dynamic_range_gumbel",
    "jax_softmax_custom_jvp",
    "jax_allow_f16_reductions",
    "jax_use_direct_linearize",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
    "jax_exec_time_optimization_effort",
)
VARIABLES = ("NVIDIA_TF32_OVERRIDE", "LIBTPU_INIT_ARGS")
# Every other flag of XLA may change a sum's order or its type. These say what is written, watched
# or waited for, and how many devices a CPU passes for, which is free to change here.
_HARMLESS_FLAGS = re.compile(
    r"--xla_(force_host_platform_device_count|dump|hlo_profile|log|slow_operation_alarm"
    r"|.*(_dump|profil|timeout|cuda_data_dir|parallelism|terminate|warn_stuck|cache_dir|cache_mode"
    r"|memory_fraction|preallocate))"
)


def numerics():
    """{"JAX_ENABLE_X64": False, ..., "XLA_FLAGS": "--xla_..."}: settings that change the numbers,
    JSON-able; None where one is not set.

    The devices are not among them: a run may go on on others, and its results say on which it was.
    """
    settings = jax.config.values
    # versions of JAX have others
    found = {name.upper(): _plain(settings[name]) for name in JAX_SETTINGS if name in settings}
    found |= {name: os.environ.get(name) or None for name in VARIABLES}
    return found | {"XLA_FLAGS": _flags(os.environ.get("XLA_FLAGS", ""))}


def _plain(value):
    value = getattr(value, "value", value)  # of an enumeration
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _flags(text):
    """The flags that may change numbers, sorted, the last of each name; None for none."""
    try:
        words = shlex.split(text)
    except ValueError:  # an unclosed quote: XLA will say so
        words = text.split()
    kept = {word.partition("=")[0]: word for word in words if not _HARMLESS_FLAGS.match(word)}
    return " ".join(kept[name] for name in sorted(kept)) or None


def check(workdir, mode):
    """Writes environment.json into a new workdir; compares it in an old one.

    Args:
      workdir: pathlib.Path.
      mode: "train", where another environment is refused, or "eval", where a line tells of it.

    Raises:
      UserError: naming the setting and both values; or the file is damaged.
    """
    path, now = workdir / FILE, numerics()
    if not path.exists():
        if mode == "train":
            json_files.write(path, now)  # new, or of a version that did not look
        return
    stored = json_files.read(
        path, f"the checkpoints are whole: remove {path.name}, and the same command writes it anew"
    )
    differing = [name for name in now if name in stored and stored[name] != now[name]]
    if not differing:
        return
    shown = ", ".join(f"{name}={stored[name]} there, {now[name]} now" for name in differing)
    if mode == "train":
        raise UserError(
            f"{workdir} was begun in another environment: {shown}; the numbers would be other "
            "ones: set the variable as it was, or use "
            "another --workdir"
        )
    console.say(
        f"trained in another environment: {shown}; the figures may differ a little from those of "
        "training"
    )


def use_compilation_cache(directory):
    """Keeps compiled programs on disk. A help and no more: where it cannot, a line says so and the
    run goes on without.

    Args:
      directory: config.runtime.compilation_cache, "" for none. JAX_COMPILATION_CACHE_DIR, where it
        is set, is taken instead.
    """
    if not directory:
        jax.config.update("jax_compilation_cache_dir", None)
        return
    variable = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    directory = variable or os.path.expanduser(directory)
    problem = None if "://" in directory else _why_not(directory)  # an address is JAX's to open
    if problem:
        key = "JAX_COMPILATION_CACHE_DIR" if variable else "--config.runtime.compilation_cache"
        console.say(
            f"compilation cache: {directory} cannot be written to ({problem}); going on without; "
            f"{key}=FOLDER names another"
        )
        jax.config.update("jax_compilation_cache_dir", None)
        return
    jax.config.update("jax_compilation_cache_dir", directory)
    # a run compiles dozens of small programs too
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _why_not(directory):
    """Why a folder cannot be written to, in a few words; None where it can. It is made where it is
    absent.
    """
    if directory.startswith("~"):  # expanduser has left it: a container's user number without HOME
        return "no home folder is known for this user"
    path = pathlib.Path(directory)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{os.getpid()}"  # several runs may share the folder
        probe.write_text("x")
        probe.unlink()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        return getattr(error, "strerror", None) or str(error)
    return None
