"""From an image that PIL has loaded to RGB pixels of 8 bits.

What a file says of its pixels beyond 8-bit RGB is kept, applied or refused, never dropped:

    grey, 1-bit, palette          the same values or colours as RGB
    16 bits a channel             value * 255 / 65535, rounded
    transparency, of any kind     laid over white, which the loaders of the papers drop; an image
                                  without a visible pixel is refused
    CMYK, YCCK                    RGB by PIL's plain formula; a colour profile is not applied
    colour profile (ICC)          not applied, as in the loaders of the papers
    EXIF (or XMP) orientation     turned upright, so sizes are those of the upright image; the
                                  loaders of the papers ignore it
    several frames                the first
    any other mode                refused

8-bit RGB and grey files without any of it give the values that they hold.
"""

from typing import BinaryIO

import numpy as np
from PIL import Image

from data_pipeline import png_chunks
from data_pipeline.errors import DataError

# Treatments, as a sentence that begins with a number of images.
TRANSPARENT = "have transparent pixels, which are laid over white"
SIXTEEN_BIT = "have 16 bits a channel, brought to 8 (value * 255 / 65535)"
CMYK = "are CMYK, made RGB by PIL's plain formula without a colour profile"
TURNED = "have an orientation in their EXIF, and are turned upright"
SEVERAL_FRAMES = "have several frames, of which the first is read"
PROFILE = "have a colour profile other than sRGB, which is not applied"

# EXIF 2.32, tag 0x0112: what brings an array [H, W, C] upright. 1 is upright.
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: np.rot90(pixels, 1),
}
# Keys of PIL's info that may hold an orientation.
_ORIENTING_INFO = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")


def to_rgb(image: Image.Image, file: BinaryIO, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The pixels of a loaded image, uint8 [H, W, 3], upright; and those of the treatments above
    that they needed.

    Args:
      image: PIL's, loaded.
      file: that it was loaded from; its position changes.
      name: for messages.
    Raises: DataError for an image that is refused. OSError for a broken PNG file of 16 bits.
    """
    pixels, treatments = _as_stored(image, file, name)
    orientation = orientation_of(image)
    if orientation != 1:
        pixels = np.ascontiguousarray(_TURNS[orientation](pixels))
        treatments.append(TURNED)
    if getattr(image, "is_animated", False):
        treatments.append(SEVERAL_FRAMES)
    if image.mode != "CMYK" and not _is_srgb(image.info.get("icc_profile")):
        treatments.append(PROFILE)
    return pixels, tuple(treatments)


def _as_stored(image, file, name) -> tuple[np.ndarray, list[str]]:
    """uint8 [H, W, 3], not yet upright, and the treatments."""
    file.seek(0)
    is_png = image.format == "PNG"
    header = png_chunks.read_header(file.read(png_chunks.HEADER_BYTES)) if is_png else None
    if header and header.bits == 16:
        return _sixteen_bits_to_rgb(file, name)
    if image.mode in ("1", "L", "RGB"):
        rgb = image if image.mode == "RGB" else image.convert("RGB")  # which copies its own, too
        pixels, key = np.asarray(rgb), image.info.get("transparency")
        if key is None:
            return pixels, []
        return _over_white(pixels, 255 * _is_opaque(pixels, key, header), name)
    if image.mode == "CMYK":
        return np.asarray(image.convert("RGB")), [CMYK]
    if image.mode in ("LA", "RGBA") or (image.mode == "P" and image.has_transparency_data):
        rgba = np.asarray(image.convert("RGBA"))
        return _over_white(rgba[..., :3], rgba[..., 3], name)
    if image.mode == "P":
        return np.asarray(image.convert("RGB")), []
    raise DataError(
        f"{name}: its pixels are of mode {image.mode}, which has no one meaning as RGB; save it as"
        " 8-bit RGB PNG"
    )


def _is_opaque(pixels, key, header) -> np.ndarray:
    """bool [H, W]: where RGB pixels are not the one transparent colour, which is a grey value or a
    triple as the file has it.
    """
    is_grey = header and header.color_type == png_chunks.GREY and np.isscalar(key)
    if is_grey and header.bits in (2, 4):
        # PIL brings such pixels to 0..255, and leaves the key; of 1 bit it does not
        key = key * 255 // (2**header.bits - 1)
    return (pixels != np.asarray(key, np.int64)).any(-1)


def _sixteen_bits_to_rgb(file, name):
    """A PNG file of 16 bits a channel. TensorFlow decodes it: PIL keeps the high byte alone of
    colours and alpha.
    """
    # Here, because TensorFlow takes seconds to import; from `stream`, which hides the GPUs from it.
    from data_pipeline.stream import tf

    file.seek(0)
    try:
        rgba = tf.io.decode_png(file.read(), channels=4, dtype=tf.uint16).numpy().astype(np.int64)
    except tf.errors.OpError as error:
        raise OSError("invalid or truncated PNG data") from error
    color, alpha = rgba[..., :3], rgba[..., 3:]
    _check_visible(alpha, name)
    laid = color * alpha + 65535 * (65535 - alpha)  # in units of 1 / 65535 of a 16-bit value
    treatments = [SIXTEEN_BIT] if alpha.min() == 65535 else [SIXTEEN_BIT, TRANSPARENT]
    return ((laid * 255 + 65535**2 // 2) // 65535**2).astype(np.uint8), treatments


def _over_white(color, alpha, name):
    """Composes uint8 [H, W, 3] with alpha [H, W] in 0..255: (color * alpha + 255 * (255 - alpha)) /
    255, rounded.
    """
    if alpha.min() == 255:
        return np.ascontiguousarray(color), []
    _check_visible(alpha, name)
    alpha = alpha.astype(np.uint16)[..., None]
    # at most 255 * 255 + 127, which 16 bits hold
    laid = (color * alpha + 255 * (255 - alpha) + 127) // 255
    return laid.astype(np.uint8), [TRANSPARENT]


def _check_visible(alpha, name):
    if not alpha.any():
        raise DataError(
            f"{name}: every pixel is transparent, so there is nothing to see; save it without its"
            " alpha channel, or remove it"
        )


def orientation_of(image: Image.Image) -> int:
    """1..8 of a loaded image's EXIF, or XMP where that has none; 1, upright, for an image with
    neither, or a broken one.
    """
    if not any(key in image.info for key in _ORIENTING_INFO):
        return 1
    try:
        # not PNG's own, which loads the image first
        value = Image.Image.getexif(image).get(_ORIENTATION_TAG)
        return value if value in _TURNS else 1
    except Exception:  # the pixels are sound all the same
        return 1


def _is_srgb(profile: bytes | None) -> bool:
    """Whether a profile calls itself sRGB, in ASCII (ICC version 2) or UTF-16 (4); an image without
    one counts as sRGB.
    """
    return not profile or b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile
