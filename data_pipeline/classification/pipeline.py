"""From a step number to a batch of images with one label each; see `data_pipeline.stream`."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from data_pipeline.classification.image_set import ImageSet
from data_pipeline.classification.transforms import Transform, check_set, crop_and_flip
from data_pipeline.classification.warp import warp_and_normalise
from data_pipeline.errors import DataError
from data_pipeline.sampling import uniforms
from data_pipeline.stream import BatchStream, checked_rows, num_columns, stream_of, tf


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
    """The batch of each step in [start, stop), one after the other.

    Close the stream when you break off, or use it in a `with`.

    Args:
      parts: name -> Part.
      start, stop: steps.
      prefetch: batches that are prepared ahead.
    Yields: name -> {"image": float32 [R, h, w, C], "mask": bool [R], "index": int32 [R]}, and
      "label": int32 [R] for a part with labels. In padded rows the image is 0, the mask False,
      index and label -1.
    Raises: DataError at once for parts that cannot work, and naming the file when one cannot be
      decoded or is too small.
    """
    for name, part in parts.items():
        _check(name, part)
    readers = {name: _Reader(part) for name, part in parts.items()}
    return stream_of(readers, start, stop, prefetch)


def _check(name, part):
    if part.with_labels and part.image_set.labels is None:
        raise DataError(f"part {name!r} wants labels and {part.image_set.name} has none")
    check_set(part.image_set, part.transform, f"part {name!r}: {part.image_set.name}")


class _Reader:
    """See stream.PartReader. Images in memory are chosen by the generator; others are read."""

    def __init__(self, part):
        self._part, self.rows = part, part.rows
        self.reads_files = part.image_set.images is None
        self._image_shape = (*part.transform.size_hw, part.image_set.channels)

    def signature(self, num_rows):
        columns = num_columns(self._part.transform)
        signature = {
            "index": tf.TensorSpec((num_rows,), tf.int32),
            "uniforms": tf.TensorSpec((num_rows, columns), tf.float32),
        }
        if not self.reads_files:
            signature["image"] = tf.TensorSpec((num_rows, *self._image_shape), tf.uint8)
        if self._part.with_labels:
            signature["label"] = tf.TensorSpec((num_rows,), tf.int32)
        return signature

    def choose(self, step, num_rows):
        part = self._part
        rows = checked_rows(part.rows(step), step, num_rows, part.image_set.name)
        numbers = uniforms(step, num_rows, num_columns(part.transform), part.key)
        chosen = {"index": rows.astype(np.int32), "uniforms": numbers}
        some_rows = np.maximum(rows, 0)
        if not self.reads_files:
            chosen["image"] = _from_memory(part, some_rows, numbers)
        if part.with_labels:
            labels = np.where(rows >= 0, part.image_set.labels[some_rows], -1)
            chosen["label"] = labels.astype(np.int32)
        return chosen

    def load(self, row, closing):
        def load_one(index, numbers):
            return _load(self._part, -1 if closing.is_asked else int(index), numbers)

        image = tf.numpy_function(load_one, (row["index"], row["uniforms"]), tf.uint8)
        # numpy_function forgets the shape.
        return row | {"image": tf.ensure_shape(image, self._image_shape)}

    def finish(self, batch):
        mask = batch["index"] >= 0
        images = warp_and_normalise(batch["image"], batch["uniforms"], self._part.transform)
        finished = {name: value for name, value in batch.items() if name != "uniforms"}
        # Rows of numbers, because tf.where broadcasts slowly.
        flat = tf.reshape(images, (images.shape[0], -1)) * tf.cast(mask, tf.float32)[:, None]
        return finished | {"image": tf.reshape(flat, images.shape), "mask": mask}

    def redo(self, chosen):
        if self.reads_files:
            for row, numbers in zip(chosen["index"], chosen["uniforms"], strict=True):
                _load(self._part, int(row), numbers)


def _from_memory(part, rows, numbers):
    images, transform = part.image_set.images, part.transform
    if transform.resize_hw is None and transform.crop is None and not transform.flip:
        return images[rows]
    drawn = zip(rows, numbers, strict=True)
    return np.stack([crop_and_flip(images[row], u, transform) for row, u in drawn])


def _load(part, row, numbers):
    """Decodes, resizes, crops and flips one file or record: uint8 [h, w, 3]; zeros for row -1."""
    if row < 0:
        return np.zeros((*part.transform.size_hw, 3), np.uint8)
    image = part.image_set.read(row)
    try:
        return np.ascontiguousarray(crop_and_flip(image, numbers, part.transform))
    except DataError as error:
        raise DataError(f"{part.image_set.describe(row)}: {error}") from error
