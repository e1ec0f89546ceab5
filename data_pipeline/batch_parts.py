"""From the parts of a batch to a stream of batches, for both tasks.

A batch is a pure function of its step: Python decides the rows and the random numbers of each step
(see `sampling`), and tf.data's threads read and transform ahead of time. So
`batches(parts, 700, 800)` gives what a run that started at 0 saw at 700. Files are decoded and
resized by PIL, which tf.data's threads call: PIL releases Python's lock while it works, resizes
four times as fast as TensorFlow's antialiased op, and gives the pixels that the papers' code saw.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.stream import BatchStream, Closing, tf

# Threads of one pipeline: the cores. A machine of 100 of them keeps some for the rest; 16 is a
# guess, not measured.
_THREADS = min(
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(), 16
)


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
