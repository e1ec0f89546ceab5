"""The first things that a process of dajax does, before anything that takes time is imported."""

import os

from dajax.cli import gpus, standard_streams
from dajax.engine import signals  # without jax

_DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg")  # bare metal, containers, WSL


def main():
    """The command `dajax`, and run.py. Ends the process."""
    standard_streams.open_closed()
    signals.end_at_once()
    _set_environment()
    from dajax.cli import command  # after the environment, which TensorFlow and JAX read

    command.run()


def _set_environment():
    """TensorFlow only reads images: no accelerator, no chatter, no arithmetic that depends on what
    oneDNN finds on this machine, and no Keras, which with all that it imports is a third of
    TensorFlow's start (7.9 s -> 5.2 s of CPU). TensorFlow passes Keras over where it is told to use
    the old one, a package that is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    if gpus.has_cuda_plugin() and not any(map(os.path.exists, _DRIVERS)):
        # JAX for CUDA on a machine without an NVIDIA driver would print a stack trace before it
        # falls back to the CPU.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
