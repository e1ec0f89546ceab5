"""From a step number to a batch of images and label maps; see `data_pipeline.stream`."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from data_pipeline.decode import read_image
from data_pipeline.errors import DataError
from data_pipeline.sampling import make_key, uniforms
from data_pipeline.segmentation.labels import IGNORED
from data_pipeline.segmentation.segmentation_set import SegmentationSet, image_size_hw
from data_pipeline.segmentation.transforms import SegTransform, apply
from data_pipeline.stream import BatchStream, num_columns, padded, stream_of, tf


@dataclasses.dataclass(frozen=True)
class SegPart:
    """One part of every batch, e.g. the labelled source images.

    rows: step -> int64 [R], the same R for every step; -1 gives a zero image whose mask is False
      and whose label is all 255.
    key: of this part's augmentation, from sampling.make_key.
    with_labels: whether labels enter the batch; otherwise the part's dict has no label at all.
    keep_label_size: labels as they are on disk, for evaluation; all of one step must have one size.
    """

    image_set: SegmentationSet
    rows: Callable[[int], np.ndarray]
    transform: SegTransform
    key: int
    with_labels: bool
    keep_label_size: bool = False


def batches(parts: Mapping[str, SegPart], start: int, stop: int, prefetch: int = 2) -> BatchStream:
    """The batch of each step in [start, stop), one after the other.

    Close the stream when you break off, or use it in a `with`.

    Args:
      parts: name -> SegPart.
      start, stop: steps.
      prefetch: batches that are prepared ahead.
    Yields: name -> {"image": float32 [R, h, w, 3], "mask": bool [R], "index": int32 [R]}, and
      "label": int32 [R, H, W] train ids for a part with labels. h and w change from step to step
      where the transform has `image_scales`.
    Raises: DataError at once for parts that cannot work, and naming the file when one cannot be
      used.
    """
    for name, part in parts.items():
        if part.with_labels and part.image_set.label_paths is None:
            raise DataError(f"part {name!r} wants labels and {part.image_set.name} has none")
    readers = {name: _Reader(part) for name, part in parts.items()}
    return stream_of(readers, start, stop, prefetch)


def evaluation_batches(
    image_set: SegmentationSet, transform: SegTransform, batch_size: int, with_labels: bool = True
) -> Iterator[dict]:
    """Every image once, in order, with its label at its own size.

    Consecutive images that differ in size go into different batches.

    Yields: {"image", "label", "mask", "index"} as `batches`, batch_size rows each, the last of a
      size padded and masked. Without labels there is none.
    """
    plan = list(_rows_of_one_size(image_set, batch_size))
    part = SegPart(
        image_set,
        lambda step: plan[step],
        transform,
        make_key(0, "evaluation"),
        with_labels=with_labels,
        keep_label_size=True,
    )
    return _images_of(batches({"images": part}, 0, len(plan)))


def one_pass(
    image_set: SegmentationSet, transform: SegTransform, batch_size: int
) -> Iterator[dict]:
    """Every image once, in order, with its label as training sees it.

    Yields: {"image", "label", "mask", "index"} as `batches`, batch_size rows each, the last padded
      and masked.
    """
    count = len(image_set)
    rows = padded(np.arange(count), count + -count % batch_size).reshape(-1, batch_size)
    key = make_key(0, "pass")
    part = SegPart(image_set, lambda step: rows[step], transform, key, with_labels=True)
    return _images_of(batches({"images": part}, 0, len(rows)))


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


class _Reader:
    """See stream.PartReader."""

    reads_files = True

    def __init__(self, part):
        self._part, self.rows = part, part.rows

    def signature(self, num_rows):
        columns = num_columns(self._part.transform)
        return {
            "index": tf.TensorSpec((num_rows,), tf.int32),
            "load": tf.TensorSpec((num_rows,), tf.int32),
            "uniforms": tf.TensorSpec((num_rows, columns), tf.float32),
            "batch_uniform": tf.TensorSpec((num_rows,), tf.float32),
        }

    def choose(self, step, num_rows):
        """`load` is the row to read: a padded row reads the step's first one, whose size it needs."""
        part = self._part
        rows = np.asarray(part.rows(step))
        if len(rows) != num_rows or rows.max() < 0:
            raise DataError(
                f"{part.image_set.name}: rows {rows.tolist()} at step {step}; expected {num_rows}, "
                "at least one of them not -1"
            )
        # One row more than there are images, whose first number is the batch's own.
        numbers = uniforms(step, num_rows + 1, num_columns(part.transform), part.key)
        return {
            "index": rows.astype(np.int32),
            "load": np.where(rows >= 0, rows, rows[rows >= 0][0]).astype(np.int32),
            "uniforms": numbers[:num_rows],
            "batch_uniform": np.full(num_rows, numbers[num_rows, 0], np.float32),
        }

    def load(self, row, closing):
        def load_one(*arguments):
            if closing.is_asked:
                return np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8)
            return _load(self._part, *arguments)

        arguments = row["load"], row["uniforms"], row["batch_uniform"]
        # numpy_function forgets the shapes.
        if not self._part.with_labels:
            image = tf.numpy_function(lambda *row: load_one(*row)[0], arguments, tf.uint8)
            return row | {"image": tf.ensure_shape(image, (None, None, 3))}
        image, label = tf.numpy_function(load_one, arguments, (tf.uint8, tf.uint8))
        return row | {
            "image": tf.ensure_shape(image, (None, None, 3)),
            "label": tf.ensure_shape(label, (None, None)),
        }

    def finish(self, batch):
        mask = batch["index"] >= 0
        images = normalise(batch["image"], self._part.transform)
        images = tf.cond(
            tf.reduce_all(mask),
            lambda: images,
            lambda: images * tf.cast(mask, tf.float32)[:, None, None, None],
        )
        finished = {"index": batch["index"], "mask": mask, "image": images}
        if self._part.with_labels:
            labels = tf.cast(batch["label"], tf.int32)
            finished["label"] = tf.where(mask[:, None, None], labels, IGNORED)
        return finished

    def redo(self, chosen):
        rows = zip(chosen["load"], chosen["uniforms"], chosen["batch_uniform"], strict=True)
        for index, numbers, batch_uniform in rows:
            _load(self._part, index, numbers, batch_uniform)


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


def _load(part, index, numbers, batch_uniform):
    """Decodes, resizes and augments one image (and label): uint8 [h, w, 3] (and uint8 [H, W])."""
    image = read_image(part.image_set.image_paths[index], plain_png=_decode_png)
    label = part.image_set.read_label(index) if part.with_labels else None
    moving_label = None if part.keep_label_size else label
    try:
        image, moved = apply(image, moving_label, numbers, batch_uniform, part.transform)
    except DataError as error:
        raise DataError(f"{part.image_set.describe(index)}: {error}") from error
    label = label if part.keep_label_size else moved
    return np.ascontiguousarray(image), None if label is None else np.ascontiguousarray(label)


def _decode_png(data: bytes) -> np.ndarray:
    """Loses nothing, and takes two thirds of PIL's time."""
    return tf.io.decode_png(data, channels=3).numpy()
