"""Decoding PNG files whose pixels are ids. An image library's usual conversions (palette to colour,
16 bits to 8) would destroy them.

Nothing of what `decode` does to images is done here: ids are neither scaled, laid over white nor
turned. A label that asks for it (an orientation, alpha, frames) is refused; transparent ids of a
palette or of grey are ids like any others.
"""

import io

import numpy as np
from PIL import PngImagePlugin

from data_pipeline.decode import (
    check_num_pixels,
    check_rows,
    describe_error,
    unreadable_file,
)
from data_pipeline.errors import DataError
from data_pipeline.pixels import orientation_of
from data_pipeline.png_chunks import (
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    read_extras,
    read_header,
)

_KINDS = {
    GREY: "grey",
    RGB: "RGB",
    PALETTE: "palette",
    GREY_ALPHA: "grey and alpha",
    RGB_ALPHA: "RGB and alpha",
}


def read_ids(path: str) -> np.ndarray:
    """Ids of a grey (8 or 16 bit) or palette PNG, uint8 or uint16 [H, W]; of a palette the indices,
    not the colours.

    Raises: DataError for a file that is missing, truncated, no PNG, or of another kind (a colour
    picture).
    """
    data, bits, kind = read_png(path)
    # PIL would bring fewer bits to 0..255
    if kind not in (GREY, PALETTE) or (kind == GREY and bits < 8):
        raise DataError(
            f"{path}: found {bits}-bit {_KINDS.get(kind, 'strange')} PNG; expected one id a pixel"
            " (8- or 16-bit grey, or a palette): use the file with the ids, not the one with"
            " colours"
        )
    return decoded(path, lambda: np.asarray(load(data)))


def read_synthia_ids(path: str) -> np.ndarray:
    """Class ids of SYNTHIA's 16-bit colour PNG (GT/LABELS), its first channel: uint16 [H, W].

    The second channel numbers the instances. TensorFlow decodes, because PIL keeps only the high
    byte of 16-bit colours.

    Raises: DataError for a file that is missing, truncated, no PNG, or has 8 bits or one channel.
    """
    data, bits, kind = read_png(path)
    if bits != 16 or kind not in (RGB, RGB_ALPHA):
        raise DataError(
            f"{path}: found {bits}-bit {_KINDS.get(kind, 'strange')} PNG; expected SYNTHIA's 16-bit"
            " RGB with the class id in channel 0; a program that saved it anew has lost the ids:"
            " take GT/LABELS from the downloaded SYNTHIA_RAND_CITYSCAPES archive again"
        )
    # Here, because TensorFlow takes seconds to import; from `stream`, which hides the GPUs from it.
    from data_pipeline.stream import tf

    try:
        return tf.io.decode_png(data, dtype=tf.uint16).numpy()[:, :, 0]
    except tf.errors.OpError as error:
        raise _broken(path, "invalid or truncated PNG data") from error


def read_png(path) -> tuple[bytes, int, int]:
    """The file's bytes, its bits per channel and its colour type. Raises DataError for what no
    label may be.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise unreadable_file(path, error) from error
    header = read_header(data)
    if header is None:
        raise DataError(
            f"{path}: not a PNG file ({len(data):,} bytes); labels must be PNG, which loses"
            " nothing: replace the file"
        )
    check_num_pixels(header.width, header.height, path)
    extras = read_extras(io.BytesIO(data))
    if extras.animation:
        raise DataError(
            f"{path}: has several frames; expected one label: save the one that belongs to the"
            " image"
        )
    if extras.orientation and decoded(path, lambda: orientation_of(load(data))) != 1:
        raise DataError(
            f"{path}: has an orientation in its EXIF; a label is taken as its pixels stand: save it"
            " upright, without the EXIF"
        )
    return data, header.bits, header.color_type


def load(data):
    """A PNG file as PIL has it. The class itself reads it, because Image.open has a bound of its
    own for the number of pixels.
    """
    image = PngImagePlugin.PngImageFile(io.BytesIO(data))
    image.load()
    check_rows(image, data)
    return image


def decoded(path, function):
    """function(), with whatever it raises as a line, a DataError, that names the file."""
    try:
        return function()
    except Exception as error:  # as in decode
        raise _broken(path, describe_error(error)) from error


def _broken(path, reason) -> DataError:
    return DataError(f"{path}: cannot be decoded: {reason}; download or copy the file again")
