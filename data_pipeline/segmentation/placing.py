"""Where the pixels of an image, and of what lies on it, come to lie: resize, crop and flip.

Everything here is a deterministic function of its arguments.
"""

from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from data_pipeline.errors import DataError
from data_pipeline.segmentation import crop_choice
from data_pipeline.segmentation.crop_choice import Centred, Wanted
from data_pipeline.segmentation.labels import IGNORED
from data_pipeline.segmentation.resizes import fitting_hw, resize_image, resize_label


class Placing(Protocol):
    """What of a transform places pixels; transforms.SegTransform says what each attribute is."""

    size_hw: tuple[int, int]
    resize: str
    shorter_edge: tuple[int, int] | None
    scale_range: tuple[float, float] | None
    fit: tuple[int, int] | None
    max_class_share: float
    pad: bool
    flip: bool

    @property
    def crops(self) -> bool:
        """Whether images are cropped at random."""

    def image_hw(self, batch_uniform: float) -> tuple[int, int]:
        """Size of the images of a batch that are not cropped."""


class Frame(NamedTuple):
    """An image and what lies on it.

    Attributes:
      image: uint8 [H, W, 3] RGB.
      label: uint8 [H, W] train ids, or None.
      trusted: uint8 [H, W], 1 where pseudo-labels count, or None; moves as a label does.
    """

    image: np.ndarray
    label: np.ndarray | None = None
    trusted: np.ndarray | None = None


class Choice(NamedTuple):
    """What chooses among several crops of an image, see crop_choice.

    Attributes:
      uniforms: float32 [SegTransform.num_further_crops, 2] in [0, 1).
      wanted: what the crop should show, or what it is centred on, or None.
    """

    uniforms: np.ndarray = np.zeros((0, 2), np.float32)
    wanted: Wanted | Centred | None = None


FIRST_CROP = Choice()
BLACK = 0  # of a padded image, before it is normalised


def moved(
    frame: Frame, uniforms: np.ndarray, batch_uniform: float, transform: Placing, choice: Choice
) -> Frame:
    """Resizes, crops and mirrors an image and what lies on it alike.

    Args:
      uniforms: float32 in [0, 1): three of size and crop, where the transform crops, then one of
        the flip.
      batch_uniform: see Placing.image_hw.
    Raises: DataError for a crop larger than the resized image, naming both sizes.
    """
    flip_uniform = uniforms[3 if transform.crops else 0 :]
    if transform.crops:
        frame = _rescale_and_crop(frame, uniforms[:3], transform, choice)
    else:
        frame = Frame(
            resize_image(frame.image, transform.image_hw(batch_uniform), transform.resize),
            *(resize_label(each, transform.size_hw, transform.resize) for each in frame[1:]),
        )
    if transform.flip and flip_uniform[0] < 0.5:
        frame = Frame(*(None if each is None else _mirrored(each) for each in frame))
    return frame


def _mirrored(array):
    """array[:, ::-1] as an array of its own; PIL takes a third of numpy's time."""
    return np.asarray(Image.fromarray(array).transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def rescaled_hw(image_hw: tuple[int, int], uniform: float, transform: Placing) -> tuple[int, int]:
    """The size that an image gets before the crop; it grows with the random number in [0, 1)."""
    height, width = image_hw
    if transform.fit:
        return fitting_hw(image_hw, transform.fit)
    if transform.shorter_edge:
        low, high = transform.shorter_edge
        # randint, both ends included; the long side is cut to an integer (PLCA, data)
        edge = low + int(uniform * (high - low + 1))
        if height <= width:
            return edge, int(edge * width / height)
        return int(edge * height / width), edge
    low, high = transform.scale_range
    factor = low + uniform * (high - low)
    return int(factor * height), int(factor * width)


def check_crop(resized_hw: tuple[int, int], crop_hw: tuple[int, int]) -> None:
    """Raises DataError where a crop is larger than the resized image, naming both sizes."""
    (height, width), (crop_height, crop_width) = resized_hw, crop_hw
    if height < crop_height or width < crop_width:
        raise DataError(
            f"resized to {height}x{width} (height x width), smaller than the crop"
            f" {crop_height}x{crop_width}; set a smaller transform.size or a larger shorter_edge,"
            " scale_range or fit"
        )


def _rescale_and_crop(frame, uniforms, transform, choice):
    size_hw = rescaled_hw(frame.image.shape[:2], uniforms[0], transform)
    crop_hw = transform.size_hw
    if not transform.pad:
        check_crop(size_hw, crop_hw)
    frame_hw = tuple(map(max, size_hw, crop_hw))  # size_hw, but for what is padded
    label, trusted = (resize_label(each, size_hw, transform.resize) for each in frame[1:])
    label, trusted = _padded(label, frame_hw, IGNORED), _padded(trusted, frame_hw, 0)
    if label is None or not len(choice.uniforms):
        top, left = crop_choice.place_of(frame_hw, crop_hw, uniforms[1], uniforms[2])
    else:
        places = np.concatenate([np.reshape(uniforms[1:], (1, 2)), choice.uniforms])
        if isinstance(choice.wanted, Centred):
            top, left = crop_choice.centred(label, crop_hw, places, choice.wanted)
        else:
            rule = transform.max_class_share, choice.wanted
            top, left = crop_choice.choose(label, crop_hw, places, *rule)
    window = slice(top, top + crop_hw[0]), slice(left, left + crop_hw[1])
    inside = tuple(
        slice(part.start, min(part.stop, side)) for part, side in zip(window, size_hw, strict=True)
    )
    image = _padded(resize_image(frame.image, size_hw, transform.resize, inside), crop_hw, BLACK)
    return Frame(image, *(None if each is None else each[window] for each in (label, trusted)))


def _padded(array, size_hw, value):
    """array with rows below and columns on the right up to size_hw, itself where it has it; None
    stays.
    """
    if array is None or array.shape[:2] == tuple(size_hw):
        return array
    found = np.full((*size_hw, *array.shape[2:]), value, array.dtype)
    found[: array.shape[0], : array.shape[1]] = array
    return found
