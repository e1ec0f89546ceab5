"""From the bytes of an image file to RGB pixels of 8 bits, with PIL: the one place where images are
opened and decoded, whatever the task. What becomes of their pixels is said in `pixels`.

Formats: JPEG, PNG, BMP, GIF and WebP, known by their first bytes; the ending of the name need not
agree. Nothing else is opened: PIL starts programs for some formats.
"""

import io
import os
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from data_pipeline import png_chunks
from data_pipeline.errors import DataError
from data_pipeline.pixels import orientation_of, to_rgb

# 134 megapixels, 400 MB as RGB: 64 times a frame of Cityscapes, and more than cameras take; less
# than the 179 from which PIL calls a file an attack.
MAX_PIXELS = 2**27

_HEAD_BYTES = 64  # enough to know a format by

# first bytes -> class that reads it; the class itself, because Image.open asks all others too
_FORMATS = (
    (png_chunks.SIGNATURE, PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"GIF87a", GifImagePlugin.GifImageFile),
    (b"GIF89a", GifImagePlugin.GifImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
)
_EXPECTED = "expected JPEG, PNG, BMP, GIF or WebP"
# first bytes -> what else lies in image folders
_FOREIGN = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"%PDF", "PDF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop's PSD"),
    (b"PK", "a ZIP archive"),
    (b"\x1f\x8b", "gzip"),
    (b"version https://git-lfs", "a Git LFS pointer without its file"),
    (b"<", "HTML or XML, as an error page is"),
)

# A photo of a camera: JPEG files with fewer pixels are always decoded in full, which takes 70 ms at
# most. Ours.
DRAFT_PIXELS = 2**22
# How much larger than needed both sides of a draft are at least, so that the antialiased resize
# that follows still averages over pixels of the photo. Ours.
_DRAFT_MARGIN = 2

_FILE_REMEDY, _RECORD_REMEDY = "replace or remove the file", "prepare the data set again"


class Picture(NamedTuple):
    """A decoded image.

    Attributes:
      pixels: RGB, uint8 [H, W, 3].
      treatments: those constants of data_pipeline.pixels that were needed, for check_data to count.
    """

    pixels: np.ndarray
    treatments: tuple[str, ...]


def read_picture(path: str | os.PathLike, needed_hw: tuple[int, int] | None = None) -> Picture:
    """Decodes a file. Raises DataError, naming the file, when it is missing, cannot be decoded, or
    is of a kind that is refused.

    Args:
      needed_hw: the size (height, width) that the image is brought to afterwards. A JPEG of at
        least DRAFT_PIXELS is then decoded at a half, a quarter or an eighth (libjpeg's scaled
        inverse transform, PIL's `draft`), as long as both sides stay twice as long as that. None:
        in full.
    """
    return _read(path, lambda file: _decode(file, str(path), _FILE_REMEDY, needed_hw))


def read_image(
    path: str | os.PathLike,
    plain_png: Callable[[bytes], np.ndarray] | None = None,
    needed_hw: tuple[int, int] | None = None,
) -> np.ndarray:
    """The pixels of `read_picture`, uint8 [H, W, 3].

    Args:
      needed_hw: as there.
      plain_png: a faster decoder for PNG files of 8-bit RGB and nothing else; PIL decodes those for
        which it raises anything.
    """

    def decode(file):
        pixels = None if plain_png is None else _decode_plain_png(file, plain_png)
        if pixels is None:
            pixels = _decode(file, str(path), _FILE_REMEDY, needed_hw).pixels
        return pixels

    return _read(path, decode)


def decode_picture(encoded: bytes, name: str) -> Picture:
    """Decodes the bytes of a file. Raises DataError as read_picture does, naming it `name`."""
    return _decode(io.BytesIO(encoded), name, _RECORD_REMEDY)


def decode_image(encoded: bytes, name: str) -> np.ndarray:
    """The pixels of `decode_picture`, uint8 [H, W, 3]."""
    return decode_picture(encoded, name).pixels


def pixels_of(image: Image.Image) -> np.ndarray:
    """The pixels of an image that PIL has opened or made, uint8 [H, W, 3], by the same rules as of
    a file; of 16 bits a channel PIL itself has kept what it keeps.

    Raises: DataError for one without pixels, one of a mode that is refused, and a broken file.
    """
    name = getattr(image, "filename", "") or f"a PIL image of mode {image.mode}"
    check_num_pixels(image.width, image.height, name)
    if 0 in image.size:
        raise DataError(f"{name}: has no pixels, {image.width}x{image.height} (width x height)")

    def convert():
        image.load()
        return to_rgb(image, io.BytesIO(), name)[0]

    return _named(convert, name, _FILE_REMEDY)


def image_size_hw(path: str | os.PathLike) -> tuple[int, int]:
    """Height and width that read_image gives, from the file's header alone where it has no
    orientation.

    Raises: DataError, naming the file, for one that is missing or whose header cannot be read, and
    for an image that is too large.
    """

    def size_of(file):
        with _open(file, str(path), _FILE_REMEDY) as image:
            if image.format == "PNG" and png_chunks.read_extras(file).orientation:
                file.seek(0)
                return _decode(file, str(path), _FILE_REMEDY).pixels.shape[:2]
            is_turned = orientation_of(image) in (5, 6, 7, 8)
            return (image.width, image.height) if is_turned else (image.height, image.width)

    return _read(path, lambda file: _named(lambda: size_of(file), str(path), _FILE_REMEDY))


def describe_error(error: Exception) -> str:
    """What an image library complains of, in one short line."""
    text = " ".join(str(error).split())[:200]
    # which PIL raises for some formats before their size can be looked at
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MAX_PIXELS:,} pixels"
    if text == "not identified by this driver":  # PIL's, of a file that begins as its format does
        return "its header is broken"
    usual = isinstance(error, (OSError, SyntaxError, ValueError)) and text
    return text if usual else f"{type(error).__name__} {text}".rstrip()


def check_num_pixels(width: int, height: int, name: str) -> None:
    """Raises DataError, naming the file, for an image larger than MAX_PIXELS. To be called before
    memory is taken for its pixels.
    """
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{name}: {width}x{height} pixels (width x height), {width * height:,} in all; expected"
            f" at most {MAX_PIXELS:,}: make it smaller, cut it into tiles, or remove it"
        )


def _read(path, function):
    """function(file), and what opening it may raise as one line."""
    try:
        with open(path, "rb") as file:
            return function(file)
    except OSError as error:
        raise unreadable_file(path, error) from error


def unreadable_file(path: str | os.PathLike, error: OSError) -> DataError:
    """What opening or reading a file has raised, as a line with a remedy for it."""
    if isinstance(error, FileNotFoundError):
        return DataError(
            f"{path}: no such file; unpack the download again, take it off the list that names it,"
            " or correct the path"
        )
    return DataError(
        f"{path}: cannot be read: {error.strerror or error}; make it readable, replace or remove it"
    )


def check_rows(image: Image.Image, source: "BinaryIO | bytes") -> None:
    """Raises OSError for a loaded PNG whose last rows are missing, which PIL has left at zero. One
    that ends otherwise costs nothing.

    Args:
      source: the file that it was loaded from, or its bytes.
    """
    last_row = image.crop((0, image.height - 1, image.width, image.height))
    if any(np.asarray(last_row).flat):
        return
    if not isinstance(source, bytes):
        source.seek(0)
        source = source.read()
    if png_chunks.lacks_rows(source):
        raise OSError("it holds fewer rows of pixels than its header says")


def _named(function, name, remedy):
    """function(), with whatever it raises as a line that names the image."""
    try:
        return function()
    except DataError:
        raise
    # of a broken file PIL raises anything: struct.error, KeyError, zlib.error,
    # DecompressionBombError ...
    except Exception as error:
        raise DataError(f"{name}: cannot be decoded: {describe_error(error)}; {remedy}") from error


def _open(file: BinaryIO, name, remedy):
    """PIL's image, of which only the header has been read. Raises DataError for another format, and
    for too many pixels.
    """
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    reader = next((reader for magic, reader in _FORMATS if head.startswith(magic)), None)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        reader = WebPImagePlugin.WebPImageFile
    if reader is None:
        raise DataError(
            f"{name}: cannot be decoded: {_describe_format(head)}; {_EXPECTED}: {remedy}"
        )
    header = png_chunks.read_header(head)
    if header:  # before PIL looks at it, which has a bound of its own for some of the chunks
        check_num_pixels(header.width, header.height, name)
    image = reader(file)
    check_num_pixels(*image.size, name)
    return image


def _describe_format(head) -> str:
    if not head:
        return "the file is empty"
    if head[4:8] == b"ftyp":
        return "it is HEIC, AVIF or a video"
    found = next((what for magic, what in _FOREIGN if head.startswith(magic)), None)
    return f"it is {found}" if found else "no image format that dajax reads"


def _draft(image, needed_hw):
    """Has a large JPEG decoded at a smaller scale, see read_picture."""
    if image.format != "JPEG" or image.width * image.height < DRAFT_PIXELS:
        return
    is_turned = orientation_of(image) in (5, 6, 7, 8)
    height, width = needed_hw[::-1] if is_turned else needed_hw
    image.draft(None, (_DRAFT_MARGIN * width, _DRAFT_MARGIN * height))


def _decode(file: BinaryIO, name, remedy, needed_hw=None) -> Picture:
    def decode():
        with _open(file, name, remedy) as image:
            if needed_hw is not None:
                _draft(image, needed_hw)
            image.load()  # all of it: a PNG file may have its EXIF after its pixels
            if image.format == "PNG":
                check_rows(image, file)
            return Picture(*to_rgb(image, file, name))

    return _named(decode, name, remedy)


def _decode_plain_png(file, decoder) -> np.ndarray | None:
    """Of a PNG file of 8-bit RGB and nothing else; None for any other, and for one that the decoder
    refuses.
    """
    header = png_chunks.read_header(file.read(_HEAD_BYTES))
    pixels = None
    if header and header[2:] == (8, png_chunks.RGB) and header.width * header.height <= MAX_PIXELS:
        if not any(png_chunks.read_extras(file)):
            file.seek(0)
            try:
                pixels = decoder(file.read())
            # of another library, for a broken file; PIL says what is wrong with it
            except Exception:
                pixels = None
    file.seek(0)
    return pixels
