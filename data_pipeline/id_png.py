"""Decoding PNG files whose pixels are ids. An image library's usual conversions (palette to colour, 16 bits to 8) would destroy them."""

import io
import struct

import numpy as np
from PIL import Image

from data_pipeline.errors import DataError

# What PIL raises for a file that it cannot decode, as in data_pipeline.folder.
_UNREADABLE = (OSError, SyntaxError, ValueError)
_GREY, _RGB, _PALETTE, _RGBA = 0, 2, 3, 6  # colour types of the PNG specification, section 11.2.2
_KINDS = {_GREY: "grey", _RGB: "RGB", _PALETTE: "palette", 4: "grey and alpha", _RGBA: "RGB and alpha"}


def read_ids(path: str) -> np.ndarray:
    """Ids of a grey (8 or 16 bit) or palette PNG, uint8 or uint16 [H, W]; of a palette the indices, not the colours.

    Raises: DataError for a file that is missing, truncated, no PNG, or of another kind (a colour picture).
    """
    data, bits, kind = _read_png(path)
    if kind not in (_GREY, _PALETTE) or (kind == _GREY and bits < 8):
        raise DataError(
            f"{path}: found {bits}-bit {_KINDS.get(kind, 'strange')} PNG; expected one id a pixel (8- or 16-bit grey, or a palette): "
            f"use the file with the ids, not the one with colours")
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image)
    except _UNREADABLE as error:
        raise _broken(path, error) from error


def read_synthia_ids(path: str) -> np.ndarray:
    """Class ids of SYNTHIA's 16-bit colour PNG (GT/LABELS), which are its first channel: uint16 [H, W].

    The second channel numbers the instances. TensorFlow decodes, because PIL keeps the high byte only of 16-bit colours.
    Raises: DataError for a file that is missing, truncated, no PNG, or has 8 bits or one channel.
    """
    data, bits, kind = _read_png(path)
    if bits != 16 or kind not in (_RGB, _RGBA):
        raise DataError(
            f"{path}: found {bits}-bit {_KINDS.get(kind, 'strange')} PNG; expected SYNTHIA's 16-bit RGB with the class id in channel 0; a program "
            f"that saved it anew has lost the ids: take GT/LABELS from the downloaded SYNTHIA_RAND_CITYSCAPES archive again")
    from data_pipeline.transforms import tf  # here, because TensorFlow takes seconds to import; there, because that hides the GPUs from it

    try:
        return tf.io.decode_png(data, dtype=tf.uint16).numpy()[:, :, 0]
    except tf.errors.InvalidArgumentError as error:
        raise _broken(path, "invalid or truncated PNG data") from error


def _read_png(path) -> tuple[bytes, int, int]:
    """The file's bytes, its bits per channel and its colour type."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise _broken(path, error) from error
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 26:
        raise DataError(f"{path}: not a PNG file ({len(data):,} bytes); labels must be PNG, which loses nothing: replace the file")
    return data, *struct.unpack("BB", data[24:26])


def _broken(path, error) -> DataError:
    return DataError(f"{path}: cannot be decoded: {error}; download or copy the file again")
