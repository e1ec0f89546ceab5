"""A picture under the colours of its classes, with a legend below."""

import numpy as np
from PIL import Image

from dajax.ops import legend as legend_of
from dajax.ops.pictures import colored

OPACITY = 0.5  # of the colours over the picture, ours
WIDTHS = (512, 2048)  # pixels, ours: a scene of 128 would be a stamp, a panorama of 20,000 a burden
_TALLEST = 8192  # pixels, ours: a strip one pixel wide would become millions of rows
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
    order = [k for k in np.argsort(-shares, kind="stable") if shares[k] >= _SMALLEST_SHARE]
    entries = [(f"{class_names[k]} {100 * shares[k]:.1f} %", palette[k]) for k in order]
    return legend_of.legend(width, entries)
