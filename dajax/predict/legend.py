"""A picture under the colours of its classes, with a legend below."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dajax.ops.pictures import colored

OPACITY = 0.5  # of the colours over the picture, ours
WIDTHS = (512, 2048)  # pixels, ours: a scene of 128 would be a stamp, a panorama of 20,000 a burden
_TALLEST = 8192  # pixels, ours: a strip one pixel wide would become millions of rows
_TEXT_OF_WIDTH = 1 / 55  # height of the text over the width of the picture, ours
_TEXT_SIZES = (13, 26)  # pixels: from readable to not larger than need be
_SMALLEST_SHARE = 0.0005  # of the pixels: below, a class rounds to 0.0 %, and is left out


def overlay(image, classes, palette, class_names):
    """The picture with its classes laid over it, and a legend of those that it has.

    Args:
      image: uint8 [H, W, 3] RGB.
      classes: uint8 [H, W], positions in class_names.
      palette: uint8 [K, 3] RGB.
      class_names: K names.

    Returns:
      uint8 [h, w, 3], as wide as WIDTHS allow; a picture that would be too tall is narrower.
    """
    height, width = image.shape[:2]
    scale = min(min(max(width, WIDTHS[0]), WIDTHS[1]) / width, _TALLEST / height)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    picture = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    shown = Image.fromarray(classes).resize(size, Image.Resampling.NEAREST)
    colors = Image.fromarray(colored(np.asarray(shown), palette))
    blended = np.asarray(Image.blend(picture, colors, OPACITY))
    shares = np.bincount(classes.ravel(), minlength=len(class_names)) / classes.size
    return np.concatenate([blended, legend(size[0], shares, palette, class_names)])


def legend(width, shares, palette, class_names):
    """Colour, name and share of each class on white, the largest first: uint8 [h, width, 3].

    Args:
      width: in pixels.
      shares: float [K], of the pixels, in 0..1.
      palette: uint8 [K, 3]. class_names: K names.
    """
    height = round(min(max(width * _TEXT_OF_WIDTH, _TEXT_SIZES[0]), _TEXT_SIZES[1]))
    font, gap = ImageFont.load_default(height), height // 2
    order = [k for k in np.argsort(-shares, kind="stable") if shares[k] >= _SMALLEST_SHARE]
    entries = [(f"{class_names[k]} {100 * shares[k]:.1f} %", palette[k]) for k in order]
    # columns of one width, as many as fit
    widest = max((font.getlength(text) for text, _ in entries), default=0)
    column = min(int(widest) + 2 * height + 2 * gap, width)
    columns = max(width // column, 1)
    row = height + gap
    canvas = Image.new("RGB", (width, -(-len(entries) // columns) * row + gap), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (text, color) in enumerate(entries):
        left, top = gap + i % columns * column, gap + i // columns * row
        box = (left, top, left + 3 * height // 2, top + height - 1)
        draw.rectangle(box, fill=tuple(map(int, color)), outline=(90, 90, 90))
        draw.text((box[2] + gap, top + height / 2), text, fill="black", font=font, anchor="lm")
    return np.asarray(canvas)
