"""What changes the colours and the sharpness of an image and moves nothing in it: colour jitter and
blur, both with PIL.

Everything here is a deterministic function of an image and uniform random numbers.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from data_pipeline.errors import DataError
from data_pipeline.preprocess import checked_keys, two_numbers

_ORDERS = tuple(itertools.permutations(range(4)))
_HUE = 3  # the place of the hue among the four


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """torchvision's ColorJitter on PIL images: brightness, contrast, saturation and hue, in random
    order.

    Attributes:
      brightness, contrast, saturation: a factor is drawn from 1 +- this, not below 0.
      hue: the shift is drawn from +- this fraction of the circle of hues, 0..0.5. Grey images have
        no hue and keep none.
      before_geometry: True applies it to the image as decoded; False to what resize, crop and flip
        leave, which is cheaper.
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
        """uint8 [H, W, C], C 1 or 3, and 5 numbers in [0, 1) -> uint8 [H, W, C]."""
        picture = _picture(image)
        signed = 2.0 * np.asarray(uniforms[:4], np.float64) - 1.0
        strengths = np.array([self.brightness, self.contrast, self.saturation])
        factors = np.maximum(1.0 + signed[:3] * strengths, 0.0)
        enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        for which in _ORDERS[int(uniforms[4] * len(_ORDERS))]:
            if which != _HUE:
                picture = enhancers[which](picture).enhance(factors[which])
            elif picture.mode == "RGB":
                picture = _shift_hue(picture, signed[3] * self.hue)
        return np.asarray(picture).reshape(image.shape)


@dataclasses.dataclass(frozen=True)
class Blur:
    """A Gaussian blur whose standard deviation is drawn anew for each image.

    Attributes:
      sigma: (low, high) of the standard deviation, in pixels.
    """

    sigma: tuple[float, float]
    num_uniforms: ClassVar[int] = 1

    def __post_init__(self):
        low, high = self.sigma
        if not 0 < low <= high:
            raise DataError(
                f"blur.sigma is ({low:g}, {high:g}) pixels; expected 0 < low <= high, or blur=None"
                " for none"
            )

    def __call__(self, image: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """uint8 [H, W, C], C 1 or 3, and a number in [0, 1) -> uint8 [H, W, C]."""
        low, high = self.sigma
        sigma = low + float(uniforms[0]) * (high - low)
        blurred = _picture(image).filter(ImageFilter.GaussianBlur(sigma))
        return np.asarray(blurred).reshape(image.shape)


@dataclasses.dataclass(frozen=True)
class Appearance:
    """Colour jitter, then blur, each applied to a share of the images.

    The two augmentations that DACS (Tranheden et al. 2021) and later self-training add to the
    image that the student sees.

    Attributes:
      color_jitter: ColorJitter, or None.
      color_jitter_probability: of each image to be jittered, 0..1.
      blur: Blur, or None.
      blur_probability: of each image to be blurred, 0..1.
    """

    color_jitter: ColorJitter | None
    color_jitter_probability: float
    blur: Blur | None
    blur_probability: float
    # of each of the two one number that decides, and its own
    num_uniforms: ClassVar[int] = 1 + ColorJitter.num_uniforms + 1 + Blur.num_uniforms

    def __post_init__(self):
        for name in ("color_jitter", "blur"):
            probability = getattr(self, f"{name}_probability")
            if not 0 <= probability <= 1:
                raise DataError(f"{name}.probability is {probability:g}; expected 0..1")

    @property
    def changes_images(self) -> bool:
        """Whether any image can be jittered or blurred."""
        of_jitter = self.color_jitter is not None and self.color_jitter_probability > 0
        return of_jitter or self.blur is not None and self.blur_probability > 0

    @classmethod
    def from_config(cls, config: Mapping, where: str) -> "Appearance":
        """From {"color_jitter": None or {brightness, contrast, saturation, hue, probability},
        "blur": None or {"sigma": (low, high), "probability"}}; a ConfigDict too.

        Raises: DataError for a missing or unknown key, and for values out of range.
        """
        values = checked_keys(config, ("color_jitter", "blur"), where)
        jitter, blur = values["color_jitter"], values["blur"]
        if jitter is not None:
            names = ("brightness", "contrast", "saturation", "hue", "probability")
            jitter = checked_keys(jitter, names, f"{where}.color_jitter")
        if blur is not None:
            blur = checked_keys(blur, ("sigma", "probability"), f"{where}.blur")
        jitter_probability = 0.0 if jitter is None else float(jitter.pop("probability"))
        return cls(
            color_jitter=None if jitter is None else ColorJitter(**jitter, before_geometry=False),
            color_jitter_probability=jitter_probability,
            blur=None if blur is None else Blur(two_numbers(blur["sigma"], f"{where}.blur.sigma")),
            blur_probability=0.0 if blur is None else float(blur["probability"]),
        )

    def __call__(self, image: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """uint8 [H, W, C], C 1 or 3, and float32 [num_uniforms] in [0, 1) -> uint8 [H, W, C]."""
        of_jitter, of_blur = np.split(uniforms, [1 + ColorJitter.num_uniforms])
        if self.color_jitter is not None and of_jitter[0] < self.color_jitter_probability:
            image = self.color_jitter(image, of_jitter[1:])
        if self.blur is not None and of_blur[0] < self.blur_probability:
            image = self.blur(image, of_blur[1:])
        return image


def _picture(image):
    """PIL's image of uint8 [H, W, 3] or [H, W, 1]."""
    return Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))


def _shift_hue(picture, shift):
    """The hue, a byte in PIL's HSV, moved by shift * 255 with wrap-around (torchvision,
    functional_pil.adjust_hue).
    """
    hue, saturation, value = picture.convert("HSV").split()
    moved = (np.asarray(hue).astype(np.int32) + int(shift * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(moved.astype(np.uint8)), saturation, value)).convert(
        "RGB"
    )
