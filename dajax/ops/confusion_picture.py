"""A confusion matrix as a picture, drawn with Pillow alone."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dajax.typing import AnyArray, Integer, UInt8

# Pixels, ours. Up to _MOST_NAMED classes a cell has room for its figure and a line for its class's
# name; the cells of larger matrices are as small as makes a picture of about _WIDTH.
_CELL, _TEXT, _MOST_NAMED, _WIDTH = 34, 13, 40, 1000
_LONGEST_NAME = 24  # characters
_FULL = np.array((20, 60, 130))  # colour of 100 %; 0 % is white. Ours.
_DARK = 50  # per cent from which on the figures are white


def confusion_picture(
    confusion: Integer[AnyArray, "K K"], class_names: Sequence[str]
) -> UInt8[np.ndarray, "H W 3"]:
    """Each cell is the share of its row, the true class, that was predicted as its column.

    Args:
      confusion: int [K, K] counts, rows the true class.
      class_names: K names.

    Returns:
      uint8 [H, W, 3]; with per cent and names up to 40 classes. A row without images is grey.
    """
    counts = np.asarray(confusion, np.float64)
    totals, size = counts.sum(1, keepdims=True), len(counts)
    shares = 100 * counts / np.maximum(totals, 1)
    colors = 255 + (_FULL - 255) * shares[..., None] / 100  # [K, K, 3]
    colors = np.where(totals[..., None] > 0, colors, 225).round().astype(np.uint8)
    has_text = size <= _MOST_NAMED
    cell = _CELL if has_text else max(_WIDTH // size, 2)
    grid = Image.fromarray(colors).resize((size * cell, size * cell), Image.Resampling.NEAREST)
    font = ImageFont.load_default(_TEXT)
    names = [name[:_LONGEST_NAME] for name in class_names] if has_text else []
    margin = int(max((font.getlength(name) for name in names), default=0)) + 2 * _TEXT
    head = margin + 2 * _TEXT if has_text else 2 * _TEXT
    title = "rows: true class; columns: predicted class; per cent of the row"
    width = max(margin + size * cell, int(font.getlength(title)) + _TEXT)
    canvas = Image.new("RGB", (width, head + size * cell), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((_TEXT // 2, _TEXT), title, fill="black", font=font, anchor="lm")
    canvas.paste(grid, (margin, head))
    for i, name in enumerate(names):
        middle = i * cell + cell / 2
        draw.text((margin - 5, head + middle), name, fill="black", font=font, anchor="rm")
        upright = _upright(name, font)
        canvas.paste(upright, (round(margin + middle - _TEXT / 2), head - 5 - upright.height))
        for j in range(size):
            if totals[i] > 0 and shares[i, j] >= 0.5:  # what would be shown as 0 is left out
                draw.text(
                    (margin + j * cell + cell / 2, head + middle),
                    f"{shares[i, j]:.0f}",
                    fill="white" if shares[i, j] >= _DARK else "black",
                    font=font,
                    anchor="mm",
                )
    return np.asarray(canvas)


def _upright(text, font):
    """The text turned by a quarter, to be read from below."""
    line = Image.new("RGB", (int(font.getlength(text)) + 1, _TEXT + 3), "white")
    ImageDraw.Draw(line).text((0, _TEXT / 2 + 1), text, fill="black", font=font, anchor="lm")
    return line.rotate(90, expand=True)
