"""Overlapping windows over a picture that is larger than what a segmenter looks at, and the classes
of the scores that are blended where windows overlap.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from dajax.typing import Float, UInt8

# Part of a window that its neighbour covers too. mmsegmentation's sliding inference on Cityscapes
# has crops of 769 pixels, 513 apart: a third.
OVERLAP = 1 / 3


def starts(size: int, window: int) -> list[int]:
    """Where windows of `window` pixels begin on a side of `size` pixels: from edge to edge, evenly,
    neighbours sharing OVERLAP or more. [0] where one covers the side.
    """
    if window >= size:
        return [0]
    count = math.ceil((size - window) / max(window * (1 - OVERLAP), 1)) + 1
    return [round(i * (size - window) / (count - 1)) for i in range(count)]


def _ramp(size):
    """float32 [size]: the weight of a window's pixels along one side, 1 at its edges and growing by
    one a pixel towards its middle: an edge lacks the surroundings that the middle has.
    """
    distance = np.arange(size)
    return np.minimum(distance + 1, size - distance).astype(np.float32)


def blended_classes(
    hw: tuple[int, int],
    window_hw: tuple[int, int],
    num_classes: int,
    scores_of: Callable[[Sequence[tuple[slice, slice]]], Iterable[Float[np.ndarray, "h w K"]]],
) -> UInt8[np.ndarray, "H W"]:
    """The class of every pixel of a picture: argmax of the windows' scores, averaged with weights
    that fall towards the edges of a window.

    In memory are the scores of one row of windows, over the whole width of the picture.

    Args:
      hw: (H, W) of the picture.
      window_hw: (h, w) of a window; a side longer than the picture's is cut to it.
      num_classes: K.
      scores_of: gives float32 [h, w, K] for each of some windows, which lie side by side.

    Returns:
      uint8 [H, W].
    """
    (height, width), (rows, columns) = hw, np.minimum(hw, window_hw).tolist()
    weight = (_ramp(rows)[:, None] * _ramp(columns))[..., None]
    tops, lefts = starts(height, rows), starts(width, columns)
    classes = np.empty((height, width), np.uint8)
    total = np.zeros((rows, width, num_classes), np.float32)
    for top, next_top in zip(tops, [*tops[1:], height], strict=True):
        windows = [(slice(top, top + rows), slice(left, left + columns)) for left in lefts]
        for (_, across), scores in zip(windows, scores_of(windows), strict=True):
            total[:, across] += weight * scores
        final = next_top - top  # rows that no later window reaches
        classes[top:next_top] = total[:final].argmax(-1)
        total[: rows - final] = total[final:]
        total[rows - final :] = 0
    return classes
