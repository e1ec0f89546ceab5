"""The mask of masked image consistency (Hoyer, Dai, Wang and Van Gool, CVPR 2023): square blocks of
an image are hidden at random (`BlockMaskGenerator` in mmseg/models/utils/masking_transforms.py of
the released code).
"""

from dajax.ops.resize import resize_nearest_legacy
from dajax.typing import Array, Bool, Float


def grid_size(size_hw: tuple[int, int], block: int) -> tuple[int, int]:
    """(rows, columns) of blocks for an image of this (height, width): the quotients, halves rounded
    to even. An image's side need be no multiple of the block.
    """
    height, width = size_hw
    return round(height / block), round(width / block)


def block_mask(
    noise: Float[Array, "N rows columns"], size_hw: tuple[int, int], *, ratio: float
) -> Bool[Array, "N H W"]:
    """bool [N, H, W], True for the pixels that stay: those of blocks whose noise exceeds `ratio`.

    Args:
      noise: float32 in [0, 1), of grid_size.
      size_hw: (H, W).
      ratio: the share of blocks that are hidden, on average.
    """
    return resize_nearest_legacy(noise > ratio, size_hw)
