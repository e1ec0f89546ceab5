"""One part of every batch of images and label maps: what is asked for, and how its rows are drawn,
read and finished; see `data_pipeline.batch_parts`.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from data_pipeline import batch_parts
from data_pipeline.appearance import Appearance
from data_pipeline.batch_parts import num_columns
from data_pipeline.decode import image_size_hw, read_image
from data_pipeline.errors import DataError
from data_pipeline.files.resized_cache import found_or_made
from data_pipeline.sampling import subkey, uniforms
from data_pipeline.segmentation.crop_choice import Centred, Wanted
from data_pipeline.segmentation.label_sizes import Plan, in_room
from data_pipeline.segmentation.labels import IGNORED
from data_pipeline.segmentation.margins import Margins
from data_pipeline.segmentation.placing import FIRST_CROP, Choice, Frame
from data_pipeline.segmentation.resizes import filter_number, resize_image
from data_pipeline.segmentation.segmentation_set import SegmentationSet
from data_pipeline.segmentation.transforms import SegTransform, apply_to_frame, apply_two_views
from data_pipeline.stream import tf


@dataclasses.dataclass(frozen=True)
class OwnSizes:
    """That labels keep the size that they have on disk, for evaluation.

    Attributes:
      sizes: int32 [N, 2], height and width of each label of the set, or of each image.
      plan: a Plan for each step.
    """

    sizes: np.ndarray
    plan: tuple[Plan, ...]


@dataclasses.dataclass(frozen=True)
class WantedClasses:
    """What the crops of a part should show.

    Attributes:
      of_step: step -> int64 [R], a train id for each of the step's rows.
      min_pixels: see crop_choice.Wanted.
    """

    of_step: Callable[[int], np.ndarray]
    min_pixels: float


@dataclasses.dataclass(frozen=True)
class SegPart(batch_parts.Part):
    """See batch_parts.Part; a padded row is a zero image whose mask is False and whose label is all
    255.

    strong_view: colours and sharpness of the second view, which shares resize, crop and flip with
      the first, so that labels made on one fit the other.
    own_sizes: OwnSizes, for evaluation; None for labels that the transform resizes.
    wanted: WantedClasses of a part with labels whose transform crops, or what its crops are Centred
      on; None for any crop.
    margins: Margins of the frames, outside of which "trusted" is False; None for no such map.
    """

    image_set: SegmentationSet
    transform: SegTransform
    strong_view: Appearance | None = None
    own_sizes: OwnSizes | None = None
    wanted: WantedClasses | Centred | None = None
    margins: Margins | None = None

    def __post_init__(self):
        if self.wanted is not None and not (self.with_labels and self.transform.crops):
            raise DataError(
                f"{self.image_set.name}: crops that show a class need labels, and a transform that"
                " crops; ask for any crop (min_crop_ratio=0, rare_crops.probability=0), or set"
                " transform.fit"
            )
        if isinstance(self.wanted, Centred) and self.transform.max_class_share < 1:
            raise DataError(
                f"{self.image_set.name}: transform.max_class_share="
                f"{self.transform.max_class_share:g} draws crops again, which are centred on rare"
                " classes (rare_crops.probability); set it to 1"
            )


class Reader:
    """See batch_parts.PartReader."""

    reads_files = True

    def __init__(self, part):
        self.part = part
        # Keys of the images, and of the random numbers of a row in the order of `_load`.
        self._images, self._drawn = ["image"], ["uniforms", "batch_uniform"]
        if part.strong_view is not None:
            self._images.append("strong_image")
            self._drawn.append("strong_uniforms")
        if part.own_sizes is not None:
            self._drawn.append("room_hw")
        self._num_further = 0
        if isinstance(part.wanted, Centred):
            self._num_further = Centred.num_further
        elif part.with_labels:
            self._num_further = part.transform.num_further_crops(part.wanted is not None)
        if self._num_further:
            self._drawn.append("further_crops")
        self._has_wanted = isinstance(part.wanted, WantedClasses)
        if self._has_wanted:
            self._drawn.append("wanted")
        # Keys of what lies on an image, in the order of `_load`.
        self._maps = ["label"] * part.with_labels + ["trusted"] * (part.margins is not None)

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
        if self.part.own_sizes is not None:
            for name in ("size_hw", "room_hw"):
                signature[name] = tf.TensorSpec((num_rows, 2), tf.int32)
        if self._num_further:
            shape = (num_rows, 2 * self._num_further)
            signature["further_crops"] = tf.TensorSpec(shape, tf.float32)
        if self._has_wanted:
            signature["wanted"] = tf.TensorSpec((num_rows,), tf.int32)
        return signature

    def choose(self, step, rows, own):
        """See batch_parts.PartReader. "load" is the row to read: a padded row reads the first row
        of the step that is none, or image 0 where all are padding, as of a part of mixed batches.
        """
        part, num_rows = self.part, len(rows)
        first = rows[rows >= 0][0] if rows.max() >= 0 else 0
        # One row more than there are images; its first number is the batch's own.
        numbers = uniforms(step, num_rows + 1, num_columns(part.transform), part.key)
        chosen = {
            "index": rows.astype(np.int32),
            "load": np.where(rows >= 0, rows, first).astype(np.int32),
            "uniforms": numbers[:num_rows],
            "batch_uniform": np.full(num_rows, numbers[num_rows, 0], np.float32),
        }
        if part.strong_view is not None:
            columns = part.strong_view.num_uniforms
            strong_key = int(subkey(part.key, 0))
            chosen["strong_uniforms"] = uniforms(step, num_rows, columns, strong_key)
        if part.own_sizes is not None:
            chosen["size_hw"] = part.own_sizes.sizes[chosen["load"]]
            room_hw = part.own_sizes.plan[step].room_hw
            chosen["room_hw"] = np.tile(np.int32(room_hw), (num_rows, 1))
        if self._num_further:
            crop_key = int(subkey(part.key, 1))
            chosen["further_crops"] = uniforms(step, num_rows, 2 * self._num_further, crop_key)
        if self._has_wanted:
            chosen["wanted"] = part.wanted.of_step(step).astype(np.int32)
        return {key: values[own] for key, values in chosen.items()}

    def load(self, row, closing):
        names = self._images + self._maps
        shapes = [(None, None) if name in self._maps else (None, None, 3) for name in names]
        nothing = [np.zeros((1, 1, 3)[: len(shape)], np.uint8) for shape in shapes]

        def load_one(index, *drawn):
            return nothing if closing.is_asked else self._load(index, *drawn)

        arguments = [row["load"], *(row[name] for name in self._drawn)]
        arrays = tf.numpy_function(load_one, arguments, [tf.uint8] * len(names))
        # numpy_function forgets the shapes.
        known = zip(arrays, shapes, strict=True)
        arrays = [tf.ensure_shape(array, shape) for array, shape in known]
        return row | dict(zip(names, arrays, strict=True))

    def _load(self, index, *drawn):
        """Decodes one image (and label) and applies the transform: the images, uint8 [h, w, 3]
        each, then what lies on them, uint8 [H, W] each: the label, for a part with labels, and
        where it is trusted, for a part with margins.
        """
        part, images = self.part, self.part.image_set
        drawn = dict(zip(self._drawn, drawn, strict=True))
        image = self._read_image(index, drawn["batch_uniform"])
        label = images.read_label(index) if part.with_labels else None
        moving_label = label if part.own_sizes is None else None
        trusted = None
        if part.margins is not None:
            # of the file, since the image may have its resize behind it
            trusted = part.margins.trusted(image_size_hw(images.image_paths[index]))
        frame = Frame(image, moving_label, trusted)
        arguments = frame, drawn["uniforms"], drawn["batch_uniform"], part.transform
        choice = self._choice(drawn)
        try:
            if part.strong_view is None:
                moved, views = apply_to_frame(*arguments, choice), []
            else:
                strong = part.strong_view, drawn["strong_uniforms"]
                moved, *views = apply_two_views(*arguments, *strong, choice)
        except DataError as error:
            raise DataError(f"{images.describe(index)}: {error}") from error
        maps = [each for each in moved[1:] if each is not None]
        if part.with_labels and part.own_sizes is not None:
            maps = [in_room(label, tuple(drawn["room_hw"]))]
        return [np.ascontiguousarray(array) for array in [moved.image, *views, *maps]]

    def _choice(self, drawn):
        """What chooses the crop of one image."""
        if not self._num_further:
            return FIRST_CROP
        wanted = self.part.wanted
        if self._has_wanted:
            wanted = Wanted(int(drawn["wanted"]), wanted.min_pixels)
        return Choice(drawn["further_crops"].reshape(-1, 2), wanted)

    def _read_image(self, index, batch_uniform):
        """One image, uint8 [H, W, 3]. Where the whole frame is resized, and a draft or the cache is
        allowed, it may have the resize behind it, or have been decoded at a smaller scale.
        """
        transform, images = self.part.transform, self.part.image_set
        path, needed_hw = images.image_paths[index], transform.whole_frame_hw(batch_uniform)
        is_draft = images.draft and needed_hw is not None
        is_cached = images.cache is not None and needed_hw is not None

        def read():
            wanted = needed_hw if is_draft else None
            return read_image(path, plain_png=_decode_png, needed_hw=wanted)

        if not is_cached:
            return read()
        return found_or_made(
            images.cache,
            path,
            needed_hw,
            filter_number(transform.resize),
            is_draft,
            lambda: resize_image(read(), needed_hw, transform.resize),
        )

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
        if self.part.margins is not None:
            finished["trusted"] = (batch["trusted"] > 0) & mask[:, None, None]
        if self.part.own_sizes is not None:
            finished |= {"size_hw": batch["size_hw"], "room_hw": batch["room_hw"]}
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
