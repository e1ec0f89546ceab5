"""What the transforms of both tasks share: PIL's resize, and reading their settings."""

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

    One axis at a time, because Pillow 13 goes along the height first where that is cheaper (its
    pull request 9549), which moves values by up to 20; this order is that of all the earlier
    versions, with which the papers' numbers were made.
    """
    height, width = size_hw
    channels = image[:, :, 0] if image.shape[2] == 1 else image
    resized = Image.fromarray(channels).resize((width, image.shape[0]), resample)
    return np.asarray(resized.resize((width, height), resample)).reshape(height, width, -1)


def checked_keys(config: Mapping, names: tuple[str, ...], where: str) -> dict:
    """The items of a mapping that has exactly the keys `names`. Raises: DataError for a missing or
    unknown key.
    """
    values = dict(config.items())
    for name in names:
        if name not in values:
            raise DataError(f"{where}.{name} is missing; expected the keys {', '.join(names)}")
    for name in values:
        if name not in names:
            raise DataError(f"{where}.{name} is unknown; known: {', '.join(names)}")
    return values


def pair_of(size: int | Iterable[int]) -> tuple[int, int]:
    """n -> (n, n); two numbers as they are."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)
