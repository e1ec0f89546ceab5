"""What a train step needs of a device's memory, told before the first one runs."""

import ctypes
import os
import sys

from dajax import console, parallel

_MIB, _GIB = 2**20, 2**30


def report(name, step, arguments, devices):
    """Compiles a step, and says how long that took; then what one call needs, with a warning where
    a device has less.

    The figure is the compiler's own, for these shapes: nothing is run. The compilation is not lost,
    the first call takes it over.

    Args:
      name: of the stage.
      step: from parallel.compile_train_step.
      arguments: of its first call.
      devices: that it runs on.
    """
    with console.timed(f"{name}: compiling the train step"):
        compiled = step.lower(*arguments).compile()
    give_back_freed()
    stats = compiled.memory_analysis()
    if stats is None:  # a backend that does not tell
        return
    kept, (available, where) = held(stats), _available(devices)
    needed = kept + stats.temp_size_in_bytes
    console.say(
        f"{name}: a step needs {_text(needed)} of memory on each device (parameters, optimiser and"
        f" batch {_text(kept)}, working memory {_text(stats.temp_size_in_bytes)}); {where} has"
        f" {_text(available)} for each"
    )
    if needed > available:
        console.say(
            f"{name}: WARNING: that is more than there is, and the first step will probably fail."
            f" Set config.model.remat=all, make config.{name}.batch_size or the images smaller, use"
            " more devices, or config.model.dtype=bfloat16"
        )


def give_back_freed():
    """Gives to the system what this process has freed, where the C library is glibc.

    XLA's compiler frees what it took, but glibc keeps it for later: after the compilation of a MIC
    step 1.2 GB, five times what the step works with (docs/performance.md).
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # musl has none
        return
    trim(0)


def held(stats):
    """Bytes of what a call takes and gives, counted once where the one is donated to the other.

    Args:
      stats: jax's CompiledMemoryStats.
    """
    return stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes


def _text(size):
    return f"{size / _MIB:.0f} MiB" if size < _GIB else f"{size / _GIB:.1f} GiB"


def _available(devices):
    """(bytes for one device, what has them). CPU devices share the machine's."""
    devices = parallel.local(devices)
    stats = devices[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"], devices[0].device_kind
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(devices), "this machine"
