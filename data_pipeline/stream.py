"""The tf.data side of both tasks: TensorFlow as every module here imports it, and batches as a
stream.

A batch is a pure function of its step: Python decides the rows and the random numbers of each step
(see `sampling`), and tf.data's threads read and transform ahead of time. So
`batches(parts, 700, 800)` gives what a run that started at 0 saw at 700. Files are decoded and
resized by PIL, which tf.data's threads call: PIL releases Python's lock while it works, resizes
four times as fast as TensorFlow's antialiased op, and gives the pixels that the papers' code saw.

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
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

# Both are read when TensorFlow is loaded. The first hides its notes and keeps its errors. The
# second spares a note that no log level hides, and sums whose order (so last bits) would depend on
# the processor.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np
import tensorflow as tf

from data_pipeline.errors import DataError

# Elements that may still come out of a pipeline that is told to end: images under way in its
# threads, and batches that are prefetched. There are far fewer; a pipeline that has not ended by
# then never will.
_MOST_LEFT = 100_000

# Threads of one pipeline: the cores. A machine of 100 of them keeps some for the rest; 16 is a
# guess, not measured.
_THREADS = min(
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(), 16
)

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


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of every batch, e.g. the labelled source images; each task has a kind of its own.

    Attributes:
      image_set: set of images of the task.
      rows: step -> int64 [R], the same R for every step; -1 pads.
      transform: of the task, for "image".
      key: of the random numbers of the transforms, from sampling.make_key.
      with_labels: whether labels enter the batch; otherwise the part's dict has no label at all.
      with_index: whether "index", int32 [R], enters the batch: the rows, -1 where padded.
      strong_view: the task's description of a second view of the same rows, "strong_image"; None
        for one view.
    """

    image_set: Any
    rows: Callable[[int], np.ndarray]
    transform: Any
    key: int
    with_labels: bool
    with_index: bool = True
    strong_view: Any = None

    def check_labels(self, name: str):
        """Raises DataError where labels are asked of a set that has none; `name` is the part's."""
        if self.with_labels and not self.image_set.has_labels:
            raise DataError(f"part {name!r} wants labels and {self.image_set.name} has none")


class PartReader(Protocol):
    """What a task knows of one part of a batch: how it is read, and how it is finished."""

    part: Part
    reads_files: bool  # whether `load` has anything to do

    def signature(self, num_rows: int) -> dict[str, tf.TensorSpec]:
        """Shapes and types of what `choose` returns, num_rows rows of each."""

    def choose(self, step: int, rows: np.ndarray, own: slice) -> dict[str, np.ndarray]:
        """What Python decides about the rows `own` of a step whose rows are int64 [R]: their random
        numbers, which depend on their places among all, and what lies in memory. Raises: DataError
        for rows that cannot be.
        """

    def load(self, row: dict[str, tf.Tensor], closing: Closing) -> dict[str, tf.Tensor]:
        """Reads one row in one of tf.data's threads; anything at all once closing.is_asked."""

    def finish(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What TensorFlow does to a whole batch."""

    def redo(self, chosen: dict[str, np.ndarray]) -> None:
        """The work of `load` on every row that `choose` returned, in Python, for what it raises."""


class Share(NamedTuple):
    """What one process reads of a stream, where several share a run: number `index` of `count`
    parts.

    Attributes:
      of_steps: False for a part of the rows of every step, which `count` must divide: training.
        True for every `count`-th step, whole: a pass over a set, whose batches are independent of
        each other.
    """

    index: int = 0
    count: int = 1
    of_steps: bool = False

    def steps(self, start, stop):
        """The steps of [start, stop) that are read: a range."""
        return range(start + self.index, stop, self.count) if self.of_steps else range(start, stop)

    def rows(self, number):
        """Which of so many rows of a step are read: a slice."""
        if self.of_steps:
            return slice(0, number)
        size = number // self.count
        return slice(self.index * size, (self.index + 1) * size)


ALL = Share()


def stream_of(
    readers: Mapping[str, PartReader], start: int, stop: int, prefetch: int, share: Share = ALL
) -> BatchStream:
    """A stream of the steps [start, stop): name -> what the part's reader has finished.

    Args:
      share: what of it is read.
    Raises: DataError when the rows of a step cannot be shared so.
    """
    steps = share.steps(start, stop)
    counts = {name: len(r.part.rows(start)) for name, r in readers.items()} if steps else {}
    for name, number in counts.items():
        if not share.of_steps and number % share.count:
            raise DataError(
                f"part {name!r}: {number} rows a step do not divide over {share.count} processes"
            )

    def make_dataset(closing):
        parts = {
            name: _part_dataset(reader, steps, counts[name], share, closing)
            for name, reader in readers.items()
        }
        return tf.data.Dataset.zip(parts).prefetch(prefetch).with_options(_options())

    def redo(first, last):
        for step in steps[first:last]:
            for name, reader in readers.items():
                reader.redo(chosen(reader, step, counts[name], share))

    return BatchStream(make_dataset, len(steps), redo, prefetch)


def chosen(
    reader: PartReader, step: int, num_rows: int, share: Share = ALL
) -> dict[str, np.ndarray]:
    """What a reader chooses for the share's rows of a step.

    Raises: DataError when the step has more or fewer rows than num_rows, those of the first step.
    """
    part = reader.part
    rows = np.asarray(part.rows(step))
    if len(rows) != num_rows:
        raise DataError(
            f"{part.image_set.name}: {len(rows)} rows at step {step}, {num_rows} before; pad"
            " with -1"
        )
    return reader.choose(step, rows, share.rows(num_rows))


def _part_dataset(reader, steps, num_rows, share, closing):
    """A dataset of one part's dicts, one element a step."""
    num_read = len(range(num_rows)[share.rows(num_rows)])

    def choices():
        for step in steps:
            if closing.is_asked:
                return
            yield chosen(reader, step, num_rows, share)

    def load(row):
        return reader.load(row, closing)

    dataset = tf.data.Dataset.from_generator(choices, output_signature=reader.signature(num_read))
    if reader.reads_files:
        dataset = dataset.unbatch().map(_traced_as_it_is(load), num_parallel_calls=_THREADS)
        dataset = dataset.batch(num_read, drop_remainder=True)
    # Two at a time: more would only hold more whole batches.
    return dataset.map(_traced_as_it_is(reader.finish), num_parallel_calls=2)


# Without AutoGraph, which rewrites Python's `if` and `for` over tensors. The readers have none, and
# its rewriting costs 65 ms a part.
_traced_as_it_is = tf.autograph.experimental.do_not_convert


def _options() -> tf.data.Options:
    """Of every pipeline: batches in order, threads of its own, the parallelism over images."""
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = _THREADS
    # All threads at once; tuning them delays the end of every pass by up to a second.
    options.autotune.enabled = False
    options.threading.max_intra_op_parallelism = 1
    return options


def padded(rows, num_rows: int) -> np.ndarray:
    """Rows with -1 behind them, as many as num_rows asks for: int64 [num_rows]."""
    return np.pad(rows, (0, num_rows - len(rows)), constant_values=-1)


def num_columns(view) -> int:
    """Random numbers drawn for an image: at least one, also where the view uses none, because
    TensorFlow 2.21 crashes when it unbatches a tensor without columns.
    """
    return max(1, view.num_uniforms)
