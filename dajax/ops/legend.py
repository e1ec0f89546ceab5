"""Colours with what they stand for, to go below a picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dajax.typing import UInt8

_TEXT_OF_WIDTH = 1 / 55  # height of the text over the width of the picture, ours
_TEXT_SIZES = (13, 26)  # pixels: from readable to not larger than need be


def legend(
    width: int, entries: Sequence[tuple[str, Sequence[int] | np.ndarray]]
) -> UInt8[np.ndarray, "H W 3"]:
    """uint8 [h, width, 3]: a box in its colour beside each text, in columns, on white.

    Args:
      width: in pixels.
      entries: [(text, colour)], a colour three numbers in 0..255.
    """
    height = round(min(max(width * _TEXT_OF_WIDTH, _TEXT_SIZES[0]), _TEXT_SIZES[1]))
    font, gap = ImageFont.load_default(height), height // 2
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
