"""From a step number to a batch of images with one label each; see `data_pipeline.batch_parts`."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from data_pipeline import batch_parts
from data_pipeline.batch_parts import ALL, Share, num_columns, stream_of
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.classification.transforms import (
    Transform,
    change_image,
    change_resized,
    check_set,
)
from data_pipeline.classification.warp import warp_and_normalise
from data_pipeline.errors import DataError
from data_pipeline.sampling import subkey, uniforms
from data_pipeline.stream import BatchStream, tf


@dataclasses.dataclass(frozen=True)
class Part(batch_parts.Part):
    """See batch_parts.Part; a padded row is a zero image whose mask is False.

    strong_view: a transform with random numbers of its own, which may equal `transform`.
    """

    image_set: ImageSet
    transform: Transform
    strong_view: Transform | None = None


def batches(
    parts: Mapping[str, Part], start: int, stop: int, prefetch: int = 2, share: Share = ALL
) -> BatchStream:
    """The batch of each step in [start, stop), one after the other.

    Close the stream when you break off, or use it in a `with`.

    Args:
      parts: name -> Part.
      start, stop: steps.
      prefetch: batches that are prepared ahead.
      share: what of it is read.
    Yields: name -> {"image": float32 [R, h, w, C], "mask": bool [R]}, and

        "label": int32 [R]                      for a part with labels
        "index": int32 [R], row in the set      for a part with its index
        "strong_image": float32 [R, h, w, C]    for a part with a strong view: the same rows, read
                                                and decoded once

      In padded rows the images are 0, the mask False, index and label -1.
    Raises: DataError at once for parts that cannot work, and naming the file when one cannot be
      decoded or is too small.
    """
    for name, part in parts.items():
        part.check_labels(name)
        for view in _views(part):
            check_set(part.image_set, view.transform, f"part {name!r}: {part.image_set.name}")
    readers = {name: Reader(part) for name, part in parts.items()}
    return stream_of(readers, start, stop, prefetch, share)


class _View(NamedTuple):
    """How one of a part's images comes about."""

    image: str  # key of the batch
    uniforms: str  # key of its random numbers
    transform: Transform
    key: int


def _views(part) -> list[_View]:
    """One view, or two with random numbers of their own."""
    views = [_View("image", "uniforms", part.transform, part.key)]
    if part.strong_view is not None:
        strong_key = int(subkey(part.key, 0))
        views.append(_View("strong_image", "strong_uniforms", part.strong_view, strong_key))
    return views


class Reader:
    """See batch_parts.PartReader. Images in memory are chosen by the generator; others are read."""

    def __init__(self, part):
        self.part, self._views = part, _views(part)
        self.reads_files = part.image_set.images is None

    def _shape(self, view):
        return *view.transform.size_hw, self.part.image_set.channels

    def signature(self, num_rows):
        signature = {"index": tf.TensorSpec((num_rows,), tf.int32)}
        for view in self._views:
            columns = num_columns(view.transform)
            signature[view.uniforms] = tf.TensorSpec((num_rows, columns), tf.float32)
            if not self.reads_files:
                signature[view.image] = tf.TensorSpec((num_rows, *self._shape(view)), tf.uint8)
        if self.part.with_labels:
            signature["label"] = tf.TensorSpec((num_rows,), tf.int32)
        return signature

    def choose(self, step, rows, own):
        total, rows = len(rows), rows[own]
        chosen, some_rows = {"index": rows.astype(np.int32)}, np.maximum(rows, 0)
        for view in self._views:
            numbers = uniforms(step, total, num_columns(view.transform), view.key)[own]
            chosen[view.uniforms] = numbers
            if not self.reads_files:
                images = self.part.image_set.images
                chosen[view.image] = _from_memory(images, some_rows, numbers, view.transform)
        if self.part.with_labels:
            labels = np.where(rows >= 0, self.part.image_set.labels[some_rows], -1)
            chosen["label"] = labels.astype(np.int32)
        return chosen

    def load(self, row, closing):
        def load_one(index, *numbers):
            return self._load(-1 if closing.is_asked else int(index), numbers)

        arguments = [row["index"], *(row[view.uniforms] for view in self._views)]
        images = tf.numpy_function(load_one, arguments, [tf.uint8] * len(self._views))
        # numpy_function forgets the shape.
        return row | {
            view.image: tf.ensure_shape(image, self._shape(view))
            for view, image in zip(self._views, images, strict=True)
        }

    def _load(self, row, numbers):
        """Decodes a file or record, once or not at all where its set is kept in memory, and
        changes it by each view: uint8 [h, w, 3] each; zeros for row -1.
        """
        if row < 0:
            return [np.zeros(self._shape(view), np.uint8) for view in self._views]
        images = self.part.image_set
        read = functools.cache(lambda needed_hw: images.read_picture(row, needed_hw).pixels)
        changed = []
        for view, of_view in zip(self._views, numbers, strict=True):
            size_hw = view.transform.resize_hw
            image = read(None) if size_hw is None else images.resized(row, size_hw, read)
            try:
                # A copy: TensorFlow may work in the memory that it is given.
                changed.append(np.array(change_resized(image, of_view, view.transform)))
            except DataError as error:
                raise DataError(f"{images.describe(row)}: {error}") from error
        return changed

    def finish(self, batch):
        mask = batch["index"] >= 0
        finished = {"mask": mask}
        for view in self._views:
            image = warp_and_normalise(batch[view.image], batch[view.uniforms], view.transform)
            # Rows of numbers, because tf.where broadcasts slowly.
            flat = tf.reshape(image, (image.shape[0], -1)) * tf.cast(mask, tf.float32)[:, None]
            finished[view.image] = tf.reshape(flat, image.shape)
        kept = [("index", self.part.with_index), ("label", self.part.with_labels)]
        return finished | {name: batch[name] for name, is_kept in kept if is_kept}

    def redo(self, chosen):
        if self.reads_files:
            numbers = [chosen[view.uniforms] for view in self._views]
            for row, *of_row in zip(chosen["index"], *numbers, strict=True):
                self._load(int(row), of_row)


def _from_memory(images, rows, numbers, transform):
    """Rows of uint8 [N, H, W, C], each changed by the transform: uint8 [R, h, w, C]."""
    if not transform.changes_pixels:
        return images[rows]
    drawn = zip(rows, numbers, strict=True)
    return np.stack([change_image(images[row], of_row, transform) for row, of_row in drawn])
