"""The worlds of the embedded digits: the same fonts and variations, drawn with four looks.

    type       the digit as the font has it, white on black
    outline    only the contour of the digit, as on a shop sign
    stencil    the digit as it is sprayed through a stencil: cut by parallel bridges
    noise      a bad print: broken ink on an uneven, speckled ground

The looks were chosen by eye, to be clearly apart and each legible, before any method saw them.
"""

import functools
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WORLDS = ("type", "outline", "stencil", "noise")

# Chosen by looking at all of matplotlib's fonts: its others have no digits (DejaVu*Display,
# STIXNonUni, STIXSiz*), other glyphs in their place (cmsy10, cmex10, LastResort) or old-style
# digits that sink below the line (cmmi10).
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSans-BoldOblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "STIXGeneralBolIta",
    "cmr10",
    "cmb10",
    "cmss10",
    "cmti10",
    "cmtt10",
)

SUPERSAMPLING = 4  # drawn this many times larger, then averaged: smooth edges at any position
# em height over image height; digits are 0.65 to 0.73 em tall
FONT_SIZES = np.linspace(0.80, 1.15, 8)
MAX_SLANT = 0.2  # horizontal shift per unit of height
MAX_STROKE = 4  # thickest extra outline, in supersampled pixels
MAX_SHIFT = 0.08  # of the image size
CONTOUR = 4  # width of the contour of "outline", in supersampled pixels
# of "stencil": width in supersampled pixels; from one to the next, of the image size
BRIDGE, BRIDGE_SPACING = 7, (0.24, 0.36)
BRIDGE_TURN = np.pi / 12  # farthest from the diagonal

_GEOMETRY = 6  # numbers in [0, 1) that _typeset reads: the first ones of every world
_BRIDGES = 3  # of "stencil": angle, place, spacing
_COARSE = 6  # knots a side of the slowly varying fields of "noise"


def num_uniforms(world: str, size: int) -> int:
    """How many numbers in [0, 1) one image of a world depends on."""
    return (
        _GEOMETRY
        + {"type": 0, "outline": 0, "stencil": _BRIDGES, "noise": 2 * _COARSE**2 + size**2}[world]
    )


def draw(world: str, text: str, numbers: np.ndarray, size: int) -> np.ndarray:
    """One digit: uint8 [size, size], bright on dark.

    Args:
      numbers: float32 [num_uniforms(world, size)] in [0, 1); the first six choose font, size,
        slant, stroke and position.
    """
    variation, look = numbers[:_GEOMETRY], numbers[_GEOMETRY:]
    glyph = _typeset(text, variation, size, contour=CONTOUR if world == "outline" else 0)
    if world == "stencil":
        glyph = _cut(glyph, look)
    image = np.asarray(glyph.reduce(SUPERSAMPLING))
    return _print_badly(image, look) if world == "noise" else image


def _typeset(text, variation, size, contour=0) -> Image.Image:
    """Draws one digit, or only its contour, `contour` supersampled pixels wide: grey, SUPERSAMPLING
    times as large as `size`.

    `variation` float32 [6] in [0, 1) chooses font, size, slant, stroke and position.
    """
    canvas = size * SUPERSAMPLING
    font_name = FONTS[int(variation[0] * len(FONTS))]
    font_size = round(canvas * FONT_SIZES[int(variation[1] * len(FONT_SIZES))])
    slant = MAX_SLANT * (2 * float(variation[2]) - 1)
    stroke = int(variation[3] * (MAX_STROKE + 1))
    shift_x, shift_y = (2 * variation[4:6].astype(float) - 1) * MAX_SHIFT * canvas

    font = _font(font_name, font_size)
    left, top, right, bottom = font.getbbox(text, stroke_width=stroke)
    image = Image.new("L", (canvas, canvas), 0)
    corner = (
        round((canvas - left - right) / 2 + shift_x),
        round((canvas - top - bottom) / 2 + shift_y),
    )
    ImageDraw.Draw(image).text(corner, text, fill=255, font=font, stroke_width=stroke + contour)
    if contour:
        ImageDraw.Draw(image).text(corner, text, fill=0, font=font, stroke_width=stroke)
    # PIL asks where each output pixel comes from: x_in = x + slant * (y - middle).
    return image.transform(
        (canvas, canvas),
        Image.Transform.AFFINE,
        (1, slant, -slant * canvas / 2, 0, 1, 0),
        Image.Resampling.BILINEAR,
    )


def _cut(glyph, look) -> Image.Image:
    """Leaves out parallel bridges: `look` float32 [3] chooses their angle, place and spacing."""
    pixels = np.asarray(glyph)
    y, x = np.indices(pixels.shape)
    # diagonal, either way: a bridge along a stroke would take all of it
    lean = 2 * float(look[0]) - 1
    angle = np.copysign(np.pi / 4, lean) + BRIDGE_TURN * lean
    spacing = pixels.shape[0] * (
        BRIDGE_SPACING[0] + (BRIDGE_SPACING[1] - BRIDGE_SPACING[0]) * float(look[2])
    )
    across = x * np.cos(angle) + y * np.sin(angle) + spacing * float(look[1])
    return Image.fromarray(np.where(across % spacing < BRIDGE, 0, pixels).astype(np.uint8))


def _print_badly(image, look) -> np.ndarray:
    """Lets the ink fade and break, lights the ground unevenly and adds specks; uint8 [size, size]
    in and out.
    """
    size = image.shape[0]
    coarse = look[: 2 * _COARSE**2].reshape(2, _COARSE, _COARSE)
    ink, ground = (_enlarged(field, size) for field in coarse)
    grain = look[2 * _COARSE**2 :].reshape(size, size)
    paper = 0.40 * ground + 0.15 * grain + 0.35 * (grain > 0.97)
    strength = np.clip(0.60 + 0.50 * ink, 0, 1) * np.where(grain < 0.10, 0.4, 1.0)
    return np.rint(255 * np.clip(np.maximum(paper, image / 255.0 * strength), 0, 1)).astype(
        np.uint8
    )


def _enlarged(field, size) -> np.ndarray:
    """[n, n] -> [size, size], smooth."""
    return np.asarray(
        Image.fromarray(field.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    )


# at most len(FONTS) * len(FONT_SIZES) entries for each image size
@functools.cache
def _font(name, size_px):
    import matplotlib  # here, because importing matplotlib takes half a second

    path = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    # The basic layout is always built in; the other (Raqm) is not, and pictures must not depend on
    # it.
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)
