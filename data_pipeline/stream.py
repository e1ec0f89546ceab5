"""TensorFlow as every module here imports it, and batches of tf.data as a stream; what they hold is
in `batch_parts`.

**A stream can be closed, and a run must close it before it ends.** A Python interpreter that shuts
down gives its lock to no other thread. Calls that tf.data's threads have under way then never
return, and an iterator that is destroyed at that moment (as one in a reference cycle is) waits for
them for ever. So nothing of tf.data may be left when the interpreter shuts down:

    after its last batch       a stream closes itself
    a loop that breaks off     uses `with`, or calls `close`
    a forgotten stream         is closed when the next one is made
    when the process exits     `close_all` closes the rest
"""

import atexit
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

# Both are read when TensorFlow is loaded. The first hides its notes and keeps its errors. The
# second spares a note that no log level hides, and sums whose order (so last bits) would depend on
# the processor.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf

# Elements that may still come out of a pipeline that is told to end: images under way in its
# threads, and batches that are prefetched. There are far fewer; a pipeline that has not ended by
# then never will.
_MOST_LEFT = 100_000

# Options of malloc.h and their values in bytes: blocks from 32 MiB on are the system's, which is
# the most that glibc takes here; up to 256 MiB of free memory stay at an arena's end; and it grows
# by 100 MiB more than asked, which also keeps a thread's emptied heap of 64 MiB.
_MALLOC = {
    "M_MMAP_THRESHOLD": (-3, 32 << 20),
    "M_TRIM_THRESHOLD": (-1, 256 << 20),
    "M_TOP_PAD": (-2, 100 << 20),
}


def keep_freed_memory() -> bool:
    """Lets this process reuse freed blocks of megabytes, which glibc returns to the system at once.

    A street frame passes through arrays of 1 to 8 MB: decoded, resized, mirrored. Fetched anew from
    the system, their pages took a third of the pipeline's time: 70 ms for a frame of 2048x1024 and
    its label on two cores, 48 with this. The price is free memory that this process keeps.

    Returns: whether there was a glibc to tell.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    return all([mallopt(option, value) for option, value in _MALLOC.values()])


tf.config.set_visible_devices([], "GPU")  # otherwise TensorFlow takes the memory that jax needs
keep_freed_memory()


class Closing:
    """What the Python functions of a pipeline look at to know that no more is wanted of them."""

    def __init__(self):
        # No lock: it may be set from __del__, which runs in whichever thread collects the garbage.
        self.is_asked = False


class _Pipeline:
    """A running tf.data iterator, and the flag that makes its functions return at once."""

    def __init__(self, dataset, closing):
        self.iterator, self.closing = dataset.as_numpy_iterator(), closing

    def end(self):
        """Lets what is under way come to its end, and destroys the iterator."""
        self.closing.is_asked = True
        iterator = self.iterator
        for _ in range(_MOST_LEFT if iterator is not None else 0):
            try:
                next(iterator)
            except (StopIteration, tf.errors.CancelledError):
                break
            except tf.errors.OpError:  # of a batch that nobody wants any more
                continue
        self.iterator = None
        _running.discard(self)


_running: set[_Pipeline] = set()


class BatchStream(Iterator):
    """So many batches, one after the other. A context manager; closed after its last batch.

    Args:
      make_dataset: Closing -> tf.data.Dataset, an element a batch. Its Python functions return at
        once, with anything, when closing.is_asked. Not called for no batches.
      count: of the batches.
      redo: (first batch, last batch + 1) -> None. Does the work of these batches in Python. tf.data
        reports an error of one of its threads as a text; the work is then done again, so that the
        error is raised as itself.
      prefetch: batches that tf.data prepares ahead. The error may be in any of them.
    """

    def __init__(
        self,
        make_dataset: Callable[[Closing], tf.data.Dataset],
        count: int,
        redo: Callable[[int, int], None],
        prefetch: int,
    ):
        self._closing, self._pipeline = Closing(), None
        self._next, self._count, self._redo, self._prefetch = 0, count, redo, prefetch
        _close_forgotten()
        if count:
            self._pipeline = _Pipeline(make_dataset(self._closing), self._closing)
            _running.add(self._pipeline)

    def __next__(self) -> dict[str, Any]:
        if self._pipeline is None or self._next >= self._count:
            self.close()
            raise StopIteration
        try:
            batch = next(self._pipeline.iterator)
        except tf.errors.OpError:
            self.close()
            self._redo(self._next, min(self._next + self._prefetch + 1, self._count))
            raise
        self._next += 1
        return batch

    def close(self):
        """Ends the work on batches that have not been asked for; the stream is empty then."""
        if self._pipeline is not None:
            self._pipeline.end()
            self._pipeline = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        # No more than the flag: this may run in a thread of the very pipeline, where waiting for
        # the pipeline would never end.
        self._closing.is_asked = True


def close_all():
    """Closes every stream there is, forgotten or in use."""
    for pipeline in list(_running):
        while pipeline in _running:
            try:
                pipeline.end()
            except KeyboardInterrupt:  # impatience; but half closed is what hangs
                continue


def _close_forgotten():
    for pipeline in list(_running):
        if pipeline.closing.is_asked:
            pipeline.end()


# Handlers run in the reverse order of their registration: this one before those of TensorFlow,
# which was imported above, while its threads still get Python's lock.
atexit.register(close_all)
