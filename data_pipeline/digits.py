"""The embedded data set: rendered type as source, real handwriting as target. Nothing is downloaded.

Source: the digits 0-9 set in the fonts that matplotlib ships. Target: the 1,797 handwritten digits (8x8) of
sklearn.datasets.load_digits, the test part of UCI optdigits (Alpaydin and Kaynak 1998).
"""

import functools
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_pipeline.errors import DataError
from data_pipeline.image_set import ImageSet
from data_pipeline.sampling import make_key, uniforms

CLASS_NAMES = tuple("0123456789")
WORLDS = ("type",)

# Chosen by looking at all of matplotlib's fonts: its others have no digits (DejaVu*Display, STIXNonUni, STIXSiz*),
# other glyphs in their place (cmsy10, cmex10, LastResort) or old-style digits that sink below the line (cmmi10).
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta",
    "cmr10", "cmb10", "cmss10", "cmti10", "cmtt10",
)

SUPERSAMPLING = 4  # drawn this many times larger, then averaged: smooth edges at any position
FONT_SIZES = np.linspace(0.80, 1.15, 8)  # em height over image height; digits are 0.65 to 0.73 em tall
MAX_SLANT = 0.2  # horizontal shift per unit of height
MAX_STROKE = 4  # thickest extra outline, in supersampled pixels
MAX_SHIFT = 0.08  # of the image size


def source(seed: int = 0, per_class: int = 400, size: int = 32) -> ImageSet:
    """Typeset digits, white on black: grey uint8 [10*per_class, size, size, 1], class after class.

    Font, size, slant, stroke and position vary. Image i of a class depends on (seed, class, i) only.
    """
    key = make_key(seed, "digits/type")
    images = np.empty((10, per_class, size, size, 1), np.uint8)
    for digit in range(10):
        for i, variation in enumerate(uniforms(digit, per_class, 6, key)):
            images[digit, i, :, :, 0] = _typeset(CLASS_NAMES[digit], variation, size)
    labels = np.repeat(np.arange(10, dtype=np.int32), per_class)
    return ImageSet("digits/type", CLASS_NAMES, labels, images.reshape(-1, size, size, 1))


def target(size: int = 32) -> ImageSet:
    """Handwritten digits: grey uint8 [1797, size, size, 1].

    The 8x8 images are enlarged (bicubic) to 7/8 of the size, because optdigits crops its digits without any border.
    """
    from sklearn.datasets import load_digits  # here, because importing scikit-learn takes a second

    digits = load_digits()
    margin = size // 16
    inner = size - 2 * margin
    images = np.zeros((len(digits.images), size, size, 1), np.uint8)
    small = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # ink counts 0..16 -> 0..255
    for i, image in enumerate(small):
        enlarged = Image.fromarray(image).resize((inner, inner), Image.Resampling.BICUBIC)
        images[i, margin:margin + inner, margin:margin + inner, 0] = np.asarray(enlarged)
    return ImageSet("digits/handwriting", CLASS_NAMES, digits.target.astype(np.int32), images)


def read_domains(sources: Sequence[str], seed: int, per_class: int, size: int) -> tuple[tuple[ImageSet, ...], ImageSet]:
    """The named rendered worlds, and handwriting as the target, at one image size.

    Raises: DataError for an unknown world.
    """
    for name in sources:
        if name not in WORLDS:
            raise DataError(f"config.data.source: the digits have no world {name!r}; known: {', '.join(WORLDS)}, or several, joined by '+'")
    return tuple(source(seed, per_class, size) for _ in sources), target(size)


def _typeset(text, variation, size) -> np.ndarray:
    """Draws one digit; `variation` float32 [6] in [0, 1) chooses font, size, slant, stroke and position. uint8 [size, size]."""
    canvas = size * SUPERSAMPLING
    font_name = FONTS[int(variation[0] * len(FONTS))]
    font_size = round(canvas * FONT_SIZES[int(variation[1] * len(FONT_SIZES))])
    slant = MAX_SLANT * (2 * float(variation[2]) - 1)
    stroke = int(variation[3] * (MAX_STROKE + 1))
    shift_x, shift_y = (2 * variation[4:6].astype(float) - 1) * MAX_SHIFT * canvas

    font = _font(font_name, font_size)
    left, top, right, bottom = font.getbbox(text, stroke_width=stroke)
    image = Image.new("L", (canvas, canvas), 0)
    corner = (round((canvas - left - right) / 2 + shift_x), round((canvas - top - bottom) / 2 + shift_y))
    ImageDraw.Draw(image).text(corner, text, fill=255, font=font, stroke_width=stroke)
    # PIL asks where each output pixel comes from: x_in = x + slant * (y - middle).
    sheared = image.transform(
        (canvas, canvas), Image.Transform.AFFINE, (1, slant, -slant * canvas / 2, 0, 1, 0), Image.Resampling.BILINEAR)
    return np.asarray(sheared.reduce(SUPERSAMPLING))


@functools.lru_cache(maxsize=None)  # at most len(FONTS) * len(FONT_SIZES) entries for each image size
def _font(name, size_px):
    import matplotlib  # here, because importing matplotlib takes half a second

    path = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    # The basic layout is always built in; the other (Raqm) is not, and pictures must not depend on it.
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)
