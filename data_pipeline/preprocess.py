"""What the transforms of both tasks share: PIL's resize, and how their settings are read."""

from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image

from data_pipeline.errors import DataError

# Endings of image files, in small letters; the readers take capitals too.
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")


def resize(
    image: np.ndarray,
    size_hw: tuple[int, int],
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> np.ndarray:
    """PIL's antialiased resize of uint8 [H, W, C], first along the width, then along the height.

    Pillow 13 goes along the height first where that is cheaper (its pull request 9549), which moves
    values by up to 20. All earlier versions, with which the papers' numbers were made, go along the
    width first. So each axis is a call of its own.
    """
    height, width = size_hw
    channels = image[:, :, 0] if image.shape[2] == 1 else image
    resized = Image.fromarray(channels).resize((width, image.shape[0]), resample)
    return np.asarray(resized.resize((width, height), resample)).reshape(height, width, -1)


def checked_keys(
    config: Mapping, names: tuple[str, ...], where: str, optional: tuple[str, ...] = ()
) -> dict:
    """The items of a mapping that has all the keys `names`, and none but those and `optional`.

    Raises: DataError for anything that has no keys, and for a missing or unknown key.
    """
    if not hasattr(config, "items"):  # a ConfigDict is no Mapping
        raise DataError(f"{where} is {config!r}; expected the keys {', '.join(names)}")
    values = dict(config.items())
    for name in names:
        if name not in values:
            raise DataError(f"{where}.{name} is missing; expected the keys {', '.join(names)}")
    for name in values:
        if name not in names + optional:
            raise DataError(f"{where}.{name} is unknown; known: {', '.join(names + optional)}")
    return values


def pair_of(size: int | Iterable[int]) -> tuple[int, int]:
    """n -> (n, n); two numbers as they are."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def two_numbers(pair: Iterable[float], where: str) -> tuple[float, float]:
    """(low, high) of a config. Raises: DataError for anything but two numbers."""
    if isinstance(pair, str) or not isinstance(pair, Iterable) or len(numbers := tuple(pair)) != 2:
        raise DataError(f"{where} is {pair!r}; expected two numbers")
    return float(numbers[0]), float(numbers[1])
