"""From the bytes of a JPEG, PNG or BMP image to pixels, with PIL."""

import io
import os

import numpy as np
from PIL import Image

from data_pipeline.errors import DataError

# What PIL raises. OSError: missing, unknown format or truncated; SyntaxError: a broken PNG; ValueError: impossible sizes.
_UNREADABLE = (OSError, SyntaxError, ValueError)


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Decodes a file as RGB, uint8 [H, W, 3]. Raises DataError, naming the file, when it is missing or cannot be decoded."""
    try:
        return _decode(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; unpack the download again, or take it off the list that names it") from error
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be decoded: {error}; replace or remove the file") from error


def decode_image(encoded: bytes, name: str) -> np.ndarray:
    """Decodes an image as RGB, uint8 [H, W, 3]. Raises DataError, naming it `name`, when it cannot."""
    try:
        return _decode(io.BytesIO(encoded))
    except _UNREADABLE as error:
        reason = "no image format that PIL knows" if isinstance(error, OSError) and "BytesIO" in str(error) else error
        raise DataError(f"{name}: cannot be decoded: {reason}; prepare the data set again") from error


def _decode(file) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))
