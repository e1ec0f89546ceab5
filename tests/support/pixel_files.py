"""Writes image files that say more than 8-bit RGB; nothing here uses the code under test."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> colour type of the PNG specification


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(samples, *, before=b"", after=b"", bits=None, color_type=None, size=None):
    """A PNG file of uint8 or uint16 [H, W, C], byte by byte after the specification, unfiltered.

    before, after: further chunks before and after the pixels. bits: of a sample, when 1, 2 or 4
    (one channel).
    size: (width, height) of the header, when another than that of the pixels.
    """
    height, width, channels = samples.shape
    bits = bits or 8 * samples.dtype.itemsize
    if bits < 8:
        packed = np.unpackbits(samples[..., 0].astype(np.uint8)[..., None], axis=-1)[
            ..., 8 - bits :
        ].reshape(height, -1)
        rows = np.packbits(packed, axis=-1)
    else:
        rows = samples.astype(samples.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    color_type = _COLOR_TYPES[channels] if color_type is None else color_type
    header = struct.pack(">IIBBBBB", *(size or (width, height)), bits, color_type, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            before,
            chunk(b"IDAT", zlib.compress(lines)),
            after,
            chunk(b"IEND", b""),
        ]
    )


def saved(image, form, **options):
    """The bytes of a file as PIL saves it."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def exif(orientation):
    """EXIF that holds an orientation and nothing else, as a JPEG file's APP1 or a PNG file's eXIf
    has it (without "Exif\\0\\0").
    """
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def noise(*shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(
        0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True
    )


def photo(height, width):
    """A smooth RGB picture, which JPEG keeps well, no two corners alike."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(
        np.stack([255 * y // height, 255 * x // width, 60 + 0 * x], -1).astype(np.uint8)
    )
