"""From a step number to a batch of images and label maps; see `data_pipeline.stream`."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from data_pipeline import stream
from data_pipeline.appearance import Appearance
from data_pipeline.decode import read_image
from data_pipeline.errors import DataError
from data_pipeline.sampling import make_key, subkey, uniforms
from data_pipeline.segmentation.labels import IGNORED
from data_pipeline.segmentation.segmentation_set import SegmentationSet, image_size_hw
from data_pipeline.segmentation.transforms import SegTransform, apply, apply_two_views
from data_pipeline.stream import ALL, BatchStream, Share, num_columns, padded, stream_of, tf


@dataclasses.dataclass(frozen=True)
class SegPart(stream.Part):
    """One part of every batch, see stream.Part; a padded row is a zero image whose mask is False
    and whose label is all 255.

    strong_view: colours and sharpness of the second view, which shares resize, crop and flip with
      the first, so that labels made on one fit the other.
    keep_label_size: labels as they are on disk, for evaluation; all of one step must have one size.
    """

    image_set: SegmentationSet
    transform: SegTransform
    strong_view: Appearance | None = None
    keep_label_size: bool = False


def batches(
    parts: Mapping[str, SegPart], start: int, stop: int, prefetch: int = 2, share: Share = ALL
) -> BatchStream:
    """The batch of each step in [start, stop), one after the other.

    Close the stream when you break off, or use it in a `with`.

    Args:
      parts: name -> SegPart.
      start, stop: steps.
      prefetch: batches that are prepared ahead.
      share: what of it is read.
    Yields: name -> {"image": float32 [R, h, w, 3], "mask": bool [R]}, and

        "label": int32 [R, H, W], train ids     for a part with labels
        "index": int32 [R], row in the set      for a part with its index
        "strong_image": float32 [R, h, w, 3]    for a part with a strong view: the same frames at
                                                the same place, read and decoded once

      h and w change from step to step where the transform has `image_scales`.
    Raises: DataError at once for parts that cannot work, and naming the file when one cannot be
      used.
    """
    for name, part in parts.items():
        part.check_labels(name)
    readers = {name: Reader(part) for name, part in parts.items()}
    return stream_of(readers, start, stop, prefetch, share)


def evaluation_batches(
    image_set: SegmentationSet,
    transform: SegTransform,
    batch_size: int,
    with_labels: bool = True,
    share: Share = ALL,
) -> Iterator[dict]:
    """Every image once, in order, with its label at its own size.

    Consecutive images that differ in size go into different batches. `share` is of steps.

    Yields: {"image", "mask", "index"} as `batches`, and "label" with_labels; batch_size rows each,
      the last of a size padded and masked.
    """
    plan = list(_rows_of_one_size(image_set, batch_size))
    part = SegPart(
        image_set=image_set,
        rows=lambda step: plan[step],
        transform=transform,
        key=make_key(0, "evaluation"),
        with_labels=with_labels,
        keep_label_size=True,
    )
    return _images_of(batches({"images": part}, 0, len(plan), share=share))


def one_pass(
    image_set: SegmentationSet, transform: SegTransform, batch_size: int, share: Share = ALL
) -> Iterator[dict]:
    """Every image once, in order, with its label as training sees it. `share` is of steps.

    Yields: {"image", "label", "mask", "index"} as `batches`, batch_size rows each, the last padded
      and masked.
    """
    count = len(image_set)
    rows = padded(np.arange(count), count + -count % batch_size).reshape(-1, batch_size)
    part = SegPart(
        image_set=image_set,
        rows=lambda step: rows[step],
        transform=transform,
        key=make_key(0, "pass"),
        with_labels=True,
    )
    return _images_of(batches({"images": part}, 0, len(rows), share=share))


def _images_of(stream) -> Iterator[dict]:
    """The part "images" of each batch; the stream is closed when the generator is."""
    with stream:
        for batch in stream:
            yield batch["images"]


def _rows_of_one_size(image_set, batch_size):
    """int64 [batch_size] rows with -1 for padding.

    Sizes are read from the headers of the images, whose size the labels have.
    """
    rows, size = [], None
    for index, path in enumerate(image_set.image_paths):
        found = image_size_hw(path)
        if rows and (found != size or len(rows) == batch_size):
            yield padded(rows, batch_size)
            rows = []
        size = found
        rows.append(index)
    yield padded(rows, batch_size)


class Reader:
    """See stream.PartReader."""

    reads_files = True

    def __init__(self, part):
        self.part = part
        # Keys of the images, and of the random numbers of a row in the order of `_load`.
        self._images, self._drawn = ["image"], ["uniforms", "batch_uniform"]
        if part.strong_view is not None:
            self._images.append("strong_image")
            self._drawn.append("strong_uniforms")

    def signature(self, num_rows):
        columns = num_columns(self.part.transform)
        signature = {
            "index": tf.TensorSpec((num_rows,), tf.int32),
            "load": tf.TensorSpec((num_rows,), tf.int32),
            "uniforms": tf.TensorSpec((num_rows, columns), tf.float32),
            "batch_uniform": tf.TensorSpec((num_rows,), tf.float32),
        }
        if self.part.strong_view is not None:
            shape = (num_rows, self.part.strong_view.num_uniforms)
            signature["strong_uniforms"] = tf.TensorSpec(shape, tf.float32)
        return signature

    def choose(self, step, rows, own):
        """See stream.PartReader. "load" is the row to read: a padded row reads the first row of
        the step that is none, because it needs an image of that size.
        """
        part, num_rows = self.part, len(rows)
        if rows.max() < 0:
            raise DataError(
                f"{part.image_set.name}: rows {rows.tolist()} at step {step}; expected at least one"
                " that is not -1"
            )
        # One row more than there are images; its first number is the batch's own.
        numbers = uniforms(step, num_rows + 1, num_columns(part.transform), part.key)
        chosen = {
            "index": rows.astype(np.int32),
            "load": np.where(rows >= 0, rows, rows[rows >= 0][0]).astype(np.int32),
            "uniforms": numbers[:num_rows],
            "batch_uniform": np.full(num_rows, numbers[num_rows, 0], np.float32),
        }
        if part.strong_view is not None:
            columns = part.strong_view.num_uniforms
            strong_key = int(subkey(part.key, 0))
            chosen["strong_uniforms"] = uniforms(step, num_rows, columns, strong_key)
        return {key: values[own] for key, values in chosen.items()}

    def load(self, row, closing):
        names = self._images + ["label"] * self.part.with_labels
        shapes = [(None, None) if name == "label" else (None, None, 3) for name in names]
        nothing = [np.zeros((1, 1, 3)[: len(shape)], np.uint8) for shape in shapes]

        def load_one(index, *numbers):
            return nothing if closing.is_asked else self._load(index, *numbers)

        arguments = [row["load"], *(row[name] for name in self._drawn)]
        arrays = tf.numpy_function(load_one, arguments, [tf.uint8] * len(names))
        # numpy_function forgets the shapes.
        known = zip(arrays, shapes, strict=True)
        arrays = [tf.ensure_shape(array, shape) for array, shape in known]
        return row | dict(zip(names, arrays, strict=True))

    def _load(self, index, numbers, batch_uniform, strong_numbers=None):
        """Decodes one image (and label) and applies the transform: the images, uint8 [h, w, 3]
        each, then the label, uint8 [H, W], for a part with labels.
        """
        part, images = self.part, self.part.image_set
        image = read_image(images.image_paths[index], plain_png=_decode_png)
        label = images.read_label(index) if part.with_labels else None
        moving_label = None if part.keep_label_size else label
        arguments = image, moving_label, numbers, batch_uniform, part.transform
        try:
            if part.strong_view is None:
                *views, moved_label = apply(*arguments)
            else:
                *views, moved_label = apply_two_views(*arguments, part.strong_view, strong_numbers)
        except DataError as error:
            raise DataError(f"{images.describe(index)}: {error}") from error
        labels = [label if part.keep_label_size else moved_label] if part.with_labels else []
        return [np.ascontiguousarray(array) for array in views + labels]

    def finish(self, batch):
        mask = batch["index"] >= 0
        finished = {"mask": mask}
        for name in self._images:
            finished[name] = _masked(normalise(batch[name], self.part.transform), mask)
        if self.part.with_index:
            finished["index"] = batch["index"]
        if self.part.with_labels:
            labels = tf.cast(batch["label"], tf.int32)
            finished["label"] = tf.where(mask[:, None, None], labels, IGNORED)
        return finished

    def redo(self, chosen):
        numbers = [chosen[name] for name in self._drawn]
        for index, *of_row in zip(chosen["load"], *numbers, strict=True):
            self._load(index, *of_row)


def _masked(images, mask):
    """Zeros in padded rows; a batch without any is not multiplied at all."""
    return tf.cond(
        tf.reduce_all(mask),
        lambda: images,
        lambda: images * tf.cast(mask, tf.float32)[:, None, None, None],
    )


def normalise(images: tf.Tensor, transform: SegTransform) -> tf.Tensor:
    """uint8 [N, h, w, 3] RGB -> float32 [N, h, w, 3]; the same numbers as transforms.normalise."""
    ordered = tf.reverse(images, axis=[-1]) if transform.channels == "bgr" else images
    shape, width = tf.shape(images), tf.shape(images)[2]
    # Whole rows at once: twice as fast as along an axis of three channels.
    values = tf.reshape(tf.cast(ordered, tf.float32), (shape[0], shape[1], -1))
    if transform.divisor != 1.0:
        values = values / np.float32(transform.divisor)
    values = values - tf.tile(np.array(transform.mean, np.float32), (width,))
    if transform.std != (1.0, 1.0, 1.0):
        values = values / tf.tile(np.array(transform.std, np.float32), (width,))
    return tf.ensure_shape(tf.reshape(values, shape), images.shape)


def _decode_png(data: bytes) -> np.ndarray:
    """Loses nothing, and takes two thirds of PIL's time."""
    return tf.io.decode_png(data, channels=3).numpy()
