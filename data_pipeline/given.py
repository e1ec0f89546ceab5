"""Pictures as a person hands them to a trained model: arrays, paths, PIL images."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from data_pipeline.decode import pixels_of, read_image
from data_pipeline.errors import DataError


def as_list(pictures: Any) -> Sequence[Any]:
    """A single path or PIL image as a list of one; anything else as it is."""
    return [pictures] if isinstance(pictures, (str, os.PathLike, Image.Image)) else pictures


def as_pixels(picture: Any, channels: int = 3) -> np.ndarray:
    """One picture as a network's transform takes it.

    Args:
      picture: a path, a PIL image, or uint8 [H, W, C], which is taken as it is.
      channels: of the result of a path or PIL image: 3 for RGB, 1 for grey (PIL's luma, which
        leaves grey values that are equal in all channels as they are).
    Returns: uint8 [H, W, channels].
    Raises: DataError for a file or image that cannot be decoded, and a picture without pixels.
    """
    if isinstance(picture, Image.Image):
        pixels = pixels_of(picture)
    elif isinstance(picture, (str, os.PathLike)):
        pixels = read_image(picture)
    elif hasattr(picture, "dtype") and hasattr(picture, "shape"):
        if 0 in picture.shape:
            raise DataError(f"an image is {picture.dtype} {list(picture.shape)}: it has no pixels")
        return picture
    else:
        raise DataError(
            f"an image is a {type(picture).__name__}; expected a path, a PIL image, or uint8 [H, W,"
            " 1 or 3]"
        )
    return pixels if channels == 3 else np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
