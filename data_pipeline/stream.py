"""An iterator over batches that can be closed, which a run must do before it ends.

tf.data's threads call back into Python to read images. While the interpreter shuts down it gives
its lock to no other thread: calls that are under way then never return, and an iterator that is
destroyed at that moment, as whatever lies in a reference cycle is, waits for them for ever. So
nothing of tf.data may be left when the interpreter shuts down. A stream closes itself after its
last batch; who breaks off uses `with`, or calls `close`; and what was forgotten all the same is
closed when the next stream is made, and at the latest by `close_all` when the process exits.
"""

import atexit
from collections.abc import Callable, Iterator
from typing import Any

from data_pipeline.transforms import tf

# Elements that may still come out of a pipeline that is told to end: images under way in its
# threads, and batches that are prefetched. Far fewer than this; a pipeline that has not ended by
# then never will.
_MOST_LEFT = 100_000


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
    """The batches of the steps [start, stop). A context manager; closed after its last batch.

    Args:
      make_dataset: Closing -> tf.data.Dataset, an element a step. Its Python functions return at
        once, with anything, when closing.is_asked. Not called for no steps.
      start, stop: steps.
      redo: (first step, last step + 1) -> None. Does the work of these steps in Python. Called when
        tf.data reports an error of one of its threads, which arrives as a text: so it is raised as
        itself.
      prefetch: batches that tf.data prepares ahead, all of which may be the one with the error.
    """

    def __init__(
        self, make_dataset: Callable[[Closing], tf.data.Dataset], start: int, stop: int,
        redo: Callable[[int, int], None], prefetch: int,
    ):
        self._closing, self._pipeline = Closing(), None
        self._step, self._stop, self._redo, self._prefetch = start, stop, redo, prefetch
        _close_forgotten()
        if start < stop:
            self._pipeline = _Pipeline(make_dataset(self._closing), self._closing)
            _running.add(self._pipeline)

    def __next__(self) -> dict[str, Any]:
        if self._pipeline is None or self._step >= self._stop:
            self.close()
            raise StopIteration
        try:
            batch = next(self._pipeline.iterator)
        except tf.errors.OpError:
            self.close()
            self._redo(self._step, min(self._step + self._prefetch + 1, self._stop))
            raise
        self._step += 1
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
