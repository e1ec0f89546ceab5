"""Colour jitter as torchvision's ColorJitter does it on PIL images: brightness, contrast,
saturation and hue, in random order.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from PIL import Image, ImageEnhance

from data_pipeline.errors import DataError
from data_pipeline.preprocess import checked_keys

_ORDERS = tuple(itertools.permutations(range(4)))


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Factors are drawn from 1 +- brightness, contrast, saturation (not below 0), the shift of the
    hue from +- hue of the circle.

    before_geometry: applied to the image as decoded; otherwise to what resize, crop and flip leave,
    which is cheaper.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    before_geometry: bool
    num_uniforms: ClassVar[int] = 5  # four strengths, one order

    def __post_init__(self):
        if min(self.brightness, self.contrast, self.saturation) < 0 or not 0 <= self.hue <= 0.5:
            raise DataError(
                "transform.color_jitter: brightness, contrast and saturation must not be negative,"
                " hue must be in 0..0.5"
            )

    @classmethod
    def from_config(cls, config: Mapping, where: str) -> "ColorJitter":
        """From a mapping with exactly the fields as keys. Raises: DataError for a missing or
        unknown key.
        """
        return cls(
            **checked_keys(config, tuple(field.name for field in dataclasses.fields(cls)), where)
        )

    def __call__(self, image: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] RGB and 5 numbers in [0, 1) -> uint8 [H, W, 3]."""
        picture = Image.fromarray(np.ascontiguousarray(image))
        signed = 2.0 * np.asarray(uniforms[:4], np.float64) - 1.0
        strengths = np.array([self.brightness, self.contrast, self.saturation])
        factors = np.maximum(1.0 + signed[:3] * strengths, 0.0)
        enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        for which in _ORDERS[int(uniforms[4] * len(_ORDERS))]:
            picture = (
                _shift_hue(picture, signed[3] * self.hue)
                if which == 3
                else enhancers[which](picture).enhance(factors[which])
            )
        return np.asarray(picture)


def _shift_hue(picture, shift):
    """The hue, a byte in PIL's HSV, moved by shift * 255 with wrap-around (torchvision,
    functional_pil.adjust_hue).
    """
    hue, saturation, value = picture.convert("HSV").split()
    moved = (np.asarray(hue).astype(np.int32) + int(shift * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(moved.astype(np.uint8)), saturation, value)).convert(
        "RGB"
    )
