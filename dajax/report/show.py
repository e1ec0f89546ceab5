"""The sections of a report in a notebook."""

import numpy as np

from dajax.analysis import figures, html
from dajax.analysis.html import Picture, Row, Text
from dajax.engine import png_files
from dajax.report.runs import LeftOut

SCREEN_DPI = 100  # of figures in a notebook, ours: they are stored in its file


def show(context, make):
    """Shows a section in the cell of a notebook; says why, where it is left out.

    Args:
      context: context.Context.
      make: a function of sections.SECTIONS, such as training.results.

    Returns:
      The Section, or None.
    """
    from IPython import display

    try:
        section = make(context)
    except LeftOut as reason:
        print(f"left out: {make.__name__}: {reason}")
        return None
    if section is None:
        print(f"{make.__name__}: not for these runs")
        return None
    for block in section.blocks:
        if isinstance(block, Text):
            display.display(display.Markdown(block.text))
        elif isinstance(block, Picture):
            width = picture_width(block.figure)
            png = png_of(block.figure, dpi=SCREEN_DPI)
            display.display(display.Image(png, width=width, alt=block.caption))
            display.display(display.Markdown(f"*{block.caption}*"))
        else:
            tables = block.tables if isinstance(block, Row) else [block]
            elements = "".join(html.titled(table) for table in tables)
            display.display(display.HTML(elements))
    return section


def png_of(figure, dpi=figures.DPI):
    """The bytes of the PNG file of a matplotlib Figure or of uint8 [H, W, 3]."""
    if not isinstance(figure, np.ndarray):
        return figures.encoded(figure, "png", dpi)
    return png_files.encoded(figure)


def picture_width(figure):
    """Of a figure on a page, in CSS pixels."""
    return figure.shape[1] if isinstance(figure, np.ndarray) else figures.css_width(figure)
