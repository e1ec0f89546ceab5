"""From a step number to a batch of images: the tf.data pipeline.

A batch is a pure function of the step: a generator in Python decides rows and random numbers for each step (numpy,
see `sampling`), and tf.data reads and transforms in parallel, ahead of time. So `batches(parts, 700, 800)` gives what
a run that started at 0 saw at 700. Files are decoded and resized by PIL, called from tf.data's threads: it lets go of
Python's lock while it works, its resize is four times faster than TensorFlow's antialiased one, and its pixels are those
that the papers' code saw.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.image_set import ImageSet
from data_pipeline.preprocess import Transform, check_set, crop_and_flip
from data_pipeline.sampling import uniforms
from data_pipeline.stream import BatchStream
from data_pipeline.transforms import tf, warp_and_normalise

# Of one pipeline: the cores, but a machine of 100 of them keeps some for the rest; a guess, not measured.
THREADS = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(), 16)


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of every batch, e.g. the labelled source images.

    rows: step -> int64 [R], the same R for every step; -1 gives a zero image whose mask is False.
    key: of this part's augmentation, from sampling.make_key.
    with_labels: whether labels enter the batch; otherwise the part's dict has no label at all.
    """

    image_set: ImageSet
    rows: Callable[[int], np.ndarray]
    transform: Transform
    key: int
    with_labels: bool


def batches(parts: Mapping[str, Part], start: int, stop: int, prefetch: int = 2) -> BatchStream:
    """The batch of each step in [start, stop), one after the other. Close the stream when you break off, or use it in a `with`.

    Args:
      parts: name -> Part.
      start, stop: steps.
      prefetch: batches that are prepared ahead.
    Yields: name -> {"image": float32 [R, h, w, C], "mask": bool [R], "index": int32 [R]}, and "label": int32 [R] for a part
      with labels. In padded rows the image is 0, the mask False, index and label -1.
    Raises: DataError at once for parts that cannot work, and naming the file when one cannot be decoded or is too small.
    """
    for name, part in parts.items():
        _check(name, part)

    def make_dataset(closing):
        dataset = tf.data.Dataset.zip({name: _part_dataset(part, start, stop, closing) for name, part in parts.items()})
        return dataset.prefetch(prefetch).with_options(options())

    def redo(first, last):
        for step in range(first, last):
            for part in parts.values():
                _redo(part, step, len(part.rows(start)))

    return BatchStream(make_dataset, start, stop, redo, prefetch)


def _check(name, part):
    if part.with_labels and part.image_set.labels is None:
        raise DataError(f"part {name!r} wants labels and {part.image_set.name} has none")
    check_set(part.image_set, part.transform, f"part {name!r}: {part.image_set.name}")


def _part_dataset(part, start, stop, closing):
    """A dataset of this part's dicts, one element a step."""
    num_rows = len(part.rows(start))
    is_encoded = part.image_set.images is None
    image_shape = (*part.transform.size_hw, part.image_set.channels)

    def steps():
        for step in range(start, stop):
            if closing.is_asked:
                return
            yield _chosen(part, step, num_rows)

    def load_one(index, numbers):
        return _load(part, -1 if closing.is_asked else int(index), numbers)

    def load(row):
        image = tf.numpy_function(load_one, (row["index"], row["uniforms"]), tf.uint8)
        return row | {"image": tf.ensure_shape(image, image_shape)}  # numpy_function forgets the shape

    def finish(batch):
        mask = batch["index"] >= 0
        images = warp_and_normalise(batch["image"], batch["uniforms"], part.transform)
        finished = {name: value for name, value in batch.items() if name != "uniforms"}
        flat = tf.reshape(images, (num_rows, -1)) * tf.cast(mask, tf.float32)[:, None]  # tf.where broadcasts slowly
        return finished | {"image": tf.reshape(flat, images.shape), "mask": mask}

    signature = {"index": tf.TensorSpec((num_rows,), tf.int32),
                 "uniforms": tf.TensorSpec((num_rows, _num_columns(part)), tf.float32)}
    if not is_encoded:
        signature["image"] = tf.TensorSpec((num_rows, *image_shape), tf.uint8)
    if part.with_labels:
        signature["label"] = tf.TensorSpec((num_rows,), tf.int32)
    dataset = tf.data.Dataset.from_generator(steps, output_signature=signature)
    if is_encoded:
        dataset = dataset.unbatch().map(load, num_parallel_calls=THREADS).batch(num_rows, drop_remainder=True)
    return dataset.map(finish, num_parallel_calls=2)  # whole batches: more at a time would only hold more of them


def _num_columns(part) -> int:
    return max(1, part.transform.num_uniforms)  # TensorFlow 2.21 crashes when it unbatches a tensor without columns


def _chosen(part, step, num_rows):
    """What Python decides about a step: rows, random numbers, labels, and the images in memory."""
    rows = part.rows(step)
    if len(rows) != num_rows:
        raise DataError(f"{part.image_set.name}: {len(rows)} rows at step {step}, {num_rows} before; pad with -1")
    numbers = uniforms(step, num_rows, _num_columns(part), part.key)
    chosen = {"index": rows.astype(np.int32), "uniforms": numbers}
    some_rows = np.maximum(rows, 0)
    if part.image_set.images is not None:  # others are read and decoded by the threads that follow
        chosen["image"] = _from_memory(part, some_rows, numbers)
    if part.with_labels:
        chosen["label"] = np.where(rows >= 0, part.image_set.labels[some_rows], -1).astype(np.int32)
    return chosen


def _from_memory(part, rows, numbers):
    images, transform = part.image_set.images, part.transform
    if transform.resize_hw is None and transform.crop is None and not transform.flip:
        return images[rows]
    return np.stack([crop_and_flip(images[row], u, transform) for row, u in zip(rows, numbers)])


def _load(part, row, numbers):
    """Decodes, resizes, crops and flips one file or record: uint8 [h, w, 3]; zeros for a padded row, -1."""
    if row < 0:
        return np.zeros((*part.transform.size_hw, 3), np.uint8)
    image = part.image_set.read(row)
    try:
        return np.ascontiguousarray(crop_and_flip(image, numbers, part.transform))
    except DataError as error:
        raise DataError(f"{part.image_set.describe(row)}: {error}") from error


def options() -> tf.data.Options:
    """Of every pipeline here: batches in order, threads of its own, the parallelism over images."""
    chosen = tf.data.Options()
    chosen.deterministic = True
    chosen.threading.private_threadpool_size = THREADS
    chosen.autotune.enabled = False  # all threads at once; tuning them delays the end of every pass by up to a second
    chosen.threading.max_intra_op_parallelism = 1
    return chosen


def _redo(part, step, num_rows):
    """The Python work of one step of a part, for what it raises."""
    chosen = _chosen(part, step, num_rows)
    if part.image_set.images is None:
        for row, numbers in zip(chosen["index"], chosen["uniforms"]):
            _load(part, int(row), numbers)
