"""How figures look, and how they become files. matplotlib is loaded when one is drawn; no state of
pyplot is touched, so a notebook's or a script's own figures stay as they are.
"""

import functools
import io
import textwrap

import numpy as np

from dajax.analysis import optional

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
# Of networks side by side: the first is the start, the others stand out. Okabe and Ito's colours
# (2008), which colour-blind readers can tell apart, without their yellow.
SERIES = ("#7b8794", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
SEQUENTIAL = "Blues"
DPI = 160  # of PNG files
LETTERS = 12  # of the style below, in an inch
CSS_PIXELS = 92  # of a page for an inch of a figure, so that all figures have letters of one size
_STYLE = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "text.color": INK,
    "axes.titlecolor": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    # text of a PDF as text, not as shapes
    "pdf.fonttype": 42,
}


def styled(draw):
    """A function that draws, within the style of this module: matplotlib reads parts of it when a
    title, a legend or a tick is made.
    """

    @functools.wraps(draw)
    def within(*args, **kwargs):
        with optional.load("matplotlib").rc_context(_STYLE):
            return draw(*args, **kwargs)

    return within


def new(rows, columns, *, panel, **settings):
    """A figure with rows x columns axes.

    Args:
      panel: (width, height) of each in inches.
      **settings: of Figure.subplots.

    Returns:
      (matplotlib Figure, numpy object array [rows, columns] of its axes).
    """
    figure = optional.load("matplotlib.figure")
    made = figure.Figure(figsize=(panel[0] * columns, panel[1] * rows), layout="constrained")
    return made, made.subplots(rows, columns, squeeze=False, **settings)


def grid(count, columns, *, panel, **settings):
    """As `new`, with `count` axes in rows of at most `columns`: (Figure, list of axes)."""
    columns = min(columns, count)
    figure, axes = new(-(-count // columns), columns, panel=panel, **settings)
    flat = list(axes.flat)
    for axis in flat[count:]:
        axis.remove()
    return figure, flat[:count]


@styled
def encoded(figure, kind, dpi=DPI):
    """The bytes of a figure as a file, "png" or "pdf"; the same figure gives the same bytes."""
    metadata = {"CreationDate": None} if kind == "pdf" else {"Software": None}
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=dpi, metadata=metadata)
    figure.set_layout_engine("none")  # it is laid out: a second file need not wait for that again
    return content.getvalue()


def wrapped(text, inches):
    """A long title or label in lines that fit into so many inches."""
    return textwrap.fill(text, max(int(inches * LETTERS) - 6, 8))


def css_width(figure):
    """How wide a figure is on a page, in CSS pixels."""
    return round(figure.get_figwidth() * CSS_PIXELS)


def class_colors(count):
    """Colours of classes without a palette of their own, float [K, 3] in 0..1."""
    matplotlib = optional.load("matplotlib")
    if count <= 10:
        return np.array(matplotlib.colormaps["tab10"].colors[:count])
    if count <= 20:
        return np.array(matplotlib.colormaps["tab20"].colors[:count])
    return matplotlib.colormaps["hsv"](np.linspace(0, 1, count, endpoint=False))[:, :3]


def series_colors(labels):
    """{label: colour} of networks, or of whatever is compared, in their order."""
    return {label: SERIES[i % len(SERIES)] for i, label in enumerate(dict.fromkeys(labels))}
