"""The random parts of a view that have settings of their own, and where a resized crop lies."""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from data_pipeline.errors import DataError

# torchvision's RandomResizedCrop and RandomErasing draw so many sizes before they give up.
CROP_TRIES = 10


@dataclasses.dataclass(frozen=True)
class Affine:
    """Ranges of a random affine map about the image centre; each value is drawn from +- its range.

    Attributes:
      rotate_rad: rotation in radians.
      shear: horizontal shift per unit of height.
      scale: relative, each axis on its own.
      shift_px: translation in pixels, each axis on its own.
    """

    rotate_rad: float
    shear: float
    scale: float
    shift_px: float


@dataclasses.dataclass(frozen=True)
class Erase:
    """torchvision's RandomErasing (Zhong et al., AAAI 2020): a random rectangle of an image becomes
    the mean, 0 once it is scaled.

    Attributes:
      probability: of each image to lose a rectangle, 0..1.
      area: bounds of the rectangle's share of the image's area.
      ratio: bounds of its height over its width.
    """

    probability: float
    area: tuple[float, float]
    ratio: tuple[float, float]
    # one that decides, two for where the rectangle lies, two for each try at its size
    num_uniforms: ClassVar[int] = 3 + 2 * CROP_TRIES

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise DataError(
                f"transform.erase.probability is {self.probability:g}; expected a share, 0..1"
            )
        for name, (low, high), largest in (
            ("area", self.area, 1.0),
            ("ratio", self.ratio, math.inf),
        ):
            _check_bounds(f"transform.erase.{name}", low, high, largest)


def _check_bounds(what, low, high, largest):
    if not 0 < low <= high <= largest:
        above = "" if largest == math.inf else f" <= {largest:g}"
        raise DataError(f"{what} is ({low:g}, {high:g}); expected 0 < low <= high{above}")


@dataclasses.dataclass(frozen=True)
class ResizedCrop:
    """torchvision's RandomResizedCrop: a random part of the image, brought to size_hw (bilinear).

    Attributes:
      scale: bounds of the part's share of the image's area.
      ratio: bounds of its width over its height.
    """

    scale: tuple[float, float]
    ratio: tuple[float, float]

    def __post_init__(self):
        for name, (low, high), largest in (
            ("scale", self.scale, 1.0),
            ("ratio", self.ratio, math.inf),
        ):
            _check_bounds(f"transform.crop.{name}", low, high, largest)


def resized_crop_box(
    image_hw: tuple[int, int], uniforms: np.ndarray, crop: ResizedCrop
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the part that a ResizedCrop takes (torchvision,
    RandomResizedCrop.get_params).

    The first of ten drawn sizes that fits into the image; where none does, the largest central part
    whose ratio is within the bounds.

    Args:
      image_hw: size of the image.
      uniforms: [2 + 2 * CROP_TRIES] in [0, 1): where the part lies, vertically and horizontally;
        then of each try its area, uniform within crop.scale, and its ratio, uniform in the
        logarithm.
    """
    height, width = image_hw
    draws = np.asarray(uniforms, np.float64)
    (low, high), (flattest, widest) = crop.scale, crop.ratio
    for of_area, of_ratio in draws[2 : 2 + 2 * CROP_TRIES].reshape(CROP_TRIES, 2):
        area = height * width * (low + of_area * (high - low))
        ratio = flattest * (widest / flattest) ** of_ratio
        part_height, part_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < part_height <= height and 0 < part_width <= width:
            top = int(draws[0] * (height - part_height + 1))
            return top, int(draws[1] * (width - part_width + 1)), part_height, part_width
    part_height, part_width = height, width
    if width / height < flattest:
        part_height = round(width / flattest)
    elif width / height > widest:
        part_width = round(height * widest)
    return (height - part_height) // 2, (width - part_width) // 2, part_height, part_width
