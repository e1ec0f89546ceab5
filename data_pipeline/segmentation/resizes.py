"""The resizes of street frames and their labels, by name, and the size that keeps a frame's aspect.

    bicubic, bilinear    PIL's, antialiased; labels take the pixel at the centre, PIL's nearest
    bilinear_plain       that of OpenCV, with which mmsegmentation's loader resizes: bilinear over
                         the two nearest pixels of an axis without antialiasing (INTER_LINEAR), and
                         labels take the pixel floor(i * old / new) (INTER_NEAREST)

On noise halved in size, the two kinds of bilinear differ by 18 grey levels on average.
"""

import functools

import numpy as np
from PIL import Image

from data_pipeline.preprocess import resize

PIL_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
PLAIN = "bilinear_plain"
RESIZES = (*PIL_FILTERS, PLAIN)
_PLAIN_FILTER = -1  # where a number of PIL's stands for the resize, see filter_number
# OpenCV's INTER_RESIZE_COEF_BITS: weights of 8-bit images are multiples of 1 / 2048.
_WEIGHT_BITS = 11

_WHOLE = (slice(None), slice(None))


def resize_image(
    image: np.ndarray, size_hw: tuple[int, int], name: str, window: tuple[slice, slice] = _WHOLE
) -> np.ndarray:
    """A window of the image after its resize.

    Args:
      image: uint8 [H, W, 3].
      size_hw: (height, width) of the whole image after the resize.
      name: one of RESIZES.
      window: (rows, columns) of the result. The plain resize computes nothing else.
    Returns: uint8 [h, w, 3].
    """
    if name != PLAIN:
        return resize(image, size_hw, PIL_FILTERS[name])[window]
    return _resize_plain(image, size_hw, window)


def filter_number(name: str) -> int:
    """Of a resize, for the key of a cached image: PIL's, or one that PIL does not have."""
    return int(PIL_FILTERS.get(name, _PLAIN_FILTER))


def _resize_plain(image, size_hw, window):
    """Exact in whole numbers: at most 255 * 2**22, and rounded once."""
    if image.shape[:2] == tuple(size_hw):
        return image[window]
    (above, below, down), (left, right, across) = (
        [kept[part] for kept in _neighbours(old, new)]
        for old, new, part in zip(image.shape[:2], size_hw, window, strict=True)
    )
    # Of the columns that the window needs; from the first to the last, which are a view.
    first = int(left.min())
    image = image[:, first : int(right.max()) + 1]
    left, right = left - first, right - first
    down, across = down[:, None, None], across[None, :, None]
    one = np.int32(1 << _WEIGHT_BITS)
    rows = image[above] * (one - down) + image[below] * down  # int32 [h, columns, 3]
    values = rows[:, left] * (one - across) + rows[:, right] * across
    half = np.int32(1 << (2 * _WEIGHT_BITS - 1))
    return ((values + half) >> np.int32(2 * _WEIGHT_BITS)).astype(np.uint8)


@functools.lru_cache(maxsize=256)
def _neighbours(size, new_size):
    """(first pixel, second pixel, weight of the second in 1 / 2048) of every new pixel: int32
    [new_size] each. Centres of pixels lie half a pixel in; beyond the outer ones there is one
    pixel.
    """
    position = (np.arange(new_size) + 0.5) * (size / new_size) - 0.5
    position = np.clip(position, 0, size - 1)
    first = np.floor(position).astype(np.int32)
    weight = np.rint((position - first) * (1 << _WEIGHT_BITS)).astype(np.int32)
    return first, np.minimum(first + 1, size - 1), weight


def resize_label(
    label: np.ndarray | None, size_hw: tuple[int, int], name: str = "bilinear"
) -> np.ndarray | None:
    """A label as the resize `name` of its image has it. Of PIL's: index floor((i + 0.5) * old /
    new); of the plain one floor(i * old / new).
    """
    if label is None or label.shape == tuple(size_hw):
        return label
    if name == PLAIN:
        rows, columns = (
            np.arange(new) * old // new for old, new in zip(label.shape, size_hw, strict=True)
        )
        return label[rows][:, columns]
    return np.asarray(Image.fromarray(label).resize(size_hw[::-1], Image.Resampling.NEAREST))


def fitting_hw(image_hw: tuple[int, int], within: tuple[int, int]) -> tuple[int, int]:
    """The largest size within a box that keeps an image's aspect: mmcv's imrescale, which turns the
    box as the image is turned. GTA5's 1052 x 1914 within 720 x 1280 is 704 x 1280.
    """
    factor = min(max(within) / max(image_hw), min(within) / min(image_hw))
    return int(image_hw[0] * factor + 0.5), int(image_hw[1] * factor + 0.5)
