"""DAFormer's thing-class ImageNet feature distance (Hoyer, Dai and Van Gool, CVPR 2022, eq. 4 to 6;
`calc_feat_dist` in mmseg/models/uda/dacs.py, `downscale_label_ratio` in
mmseg/models/utils/dacs_transforms.py): on pixels of things, the features of the student stay near
those of the network that it began with.
"""

import jax.numpy as jnp

from dajax.ops.labels import IGNORED
from dajax.ops.lengths import lengths
from dajax.typing import Array, Bool, Float, Int


def cell_labels(
    labels: Int[Array, "N H W"], *, scale: int, min_share: float, num_classes: int
) -> Int[Array, "N h w"]:
    """The class that covers most of each cell of scale x scale pixels.

    Rows and columns beyond a multiple of `scale` are left out. Pixels without a class are counted
    like one class more.

    Args:
      labels: int32 [N, H, W], 255 (or any negative number) without a class.
      scale: pixels a side of a cell.
      min_share: of a cell's pixels that its class must cover; 0.75 in the released code.
      num_classes: K.

    Returns:
      int32 [N, H // scale, W // scale]; 255 where no class covers as much, or most pixels have
        none. Of two classes that cover as much the lower one.
    """
    count, height, width = labels.shape
    index = jnp.where((labels < 0) | (labels == IGNORED), num_classes, labels)
    rows, columns = height // scale, width // scale
    cells = index[:, : rows * scale, : columns * scale].reshape(count, rows, scale, columns, scale)
    # a class at a time, for one map of counts each
    counts = jnp.stack(
        [(cells == number).sum((2, 4)) for number in range(num_classes + 1)], -1
    )  # [N, h, w, K + 1]
    largest = counts.argmax(-1).astype(jnp.int32)
    share = counts.max(-1).astype(jnp.float32) / (scale * scale)
    return jnp.where((share < min_share) | (largest == num_classes), IGNORED, largest)


def is_any_of(labels: Int[Array, "N h w"], classes: tuple[int, ...]) -> Bool[Array, "N h w"]:
    """bool [N, h, w]: the cells of these classes."""
    return jnp.isin(labels, jnp.asarray(classes, labels.dtype))


def feature_distance(
    features: Float[Array, "N h w D"], frozen: Float[Array, "N h w D"]
) -> Float[Array, "N h w"]:
    """The Euclidean distance of every cell's features; take `parallel.masked_mean` over the cells
    that count.

    Args:
      features: float32 [N, h, w, D], of the student.
      frozen: the same, without a gradient.

    Returns:
      float32 [N, h, w]; where the features are equal, as at the first step, the gradient is 0 (that
        of the norm does not exist; torch has 0 as well).
    """
    return lengths(features - frozen)
