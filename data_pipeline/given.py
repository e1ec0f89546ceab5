"""Pictures as a person hands them to a trained model: arrays, paths, PIL images."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from data_pipeline.decode import pixels_of, read_image
from data_pipeline.errors import DataError


def as_list(pictures: Any) -> Sequence[Any]:
    """A single picture, a path, a PIL image or an array [H, W, C], as a list of one; anything else
    as it is.

    Raises: DataError for no picture at all.
    """
    is_array = hasattr(pictures, "shape") and len(pictures.shape) == 3
    if is_array or isinstance(pictures, (str, os.PathLike, Image.Image)):
        return [pictures]
    if hasattr(pictures, "__len__") and not len(pictures):
        raise DataError("images: there are none; expected one picture or more")
    return pictures


def check_batch_size(size: int):
    """Raises: DataError for a number of pictures at a time that is none."""
    if size < 1:
        raise DataError(f"batch_size={size}: expected 1 or more pictures at a time")


def as_pixels(picture: Any, channels: int = 3) -> np.ndarray:
    """One picture as a network's transform takes it.

    Args:
      picture: a path, a PIL image, or uint8 [H, W, C].
      channels: of the result: 3 for RGB, 1 for grey (PIL's luma, which leaves grey values that are
        equal in all channels as they are). An array that has them is taken as it is.
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
        is_other = picture.dtype == np.uint8 and picture.shape[2:] == (4 - channels,)
        if not is_other:
            return picture
        pixels = np.repeat(picture, 3, axis=2) if channels == 3 else np.asarray(picture)
    else:
        raise DataError(
            f"an image is a {type(picture).__name__}; expected a path, a PIL image, or uint8 [H, W,"
            " 1 or 3]"
        )
    return pixels if channels == 3 else np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
