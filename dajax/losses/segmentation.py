"""Per-pixel losses of semantic segmentation. They are not reduced: take `parallel.masked_mean` over
`valid_pixels`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from dajax.ops.labels import IGNORED
from dajax.typing import AnyArray, Array, Bool, Float, Int

# Values of `kind` -> the settings that each needs beside it; see pixel_loss.
PIXEL_LOSSES = {"cross_entropy": (), "focal": ("gamma",)}
# CLAN, utils/loss.py (CrossEntropy2d with gamma): probabilities are clamped before the logarithm.
_SMALLEST = 1e-9


def valid_pixels(
    labels: Int[AnyArray, "N H W"], mask: Bool[AnyArray, " N"]
) -> Bool[AnyArray, "N H W"]:
    """bool [N, H, W]: the pixels that have a class, in rows that are not padding.

    Args:
      labels: int32 [N, H, W], 255 (or any negative number) ignored.
      mask: bool [N], False in padded rows.
    """
    return (labels >= 0) & (labels != IGNORED) & mask[:, None, None]


def cross_entropy_map(
    logits: Float[Array, "N H W K"], labels: Int[Array, "N H W"]
) -> Float[Array, "N H W"]:
    """Softmax cross-entropy of every pixel, the segmentation loss of AdaptSegNet (utils/loss.py).

    Args:
      logits: float32 [N, H, W, K].
      labels: int32 [N, H, W]; at ignored pixels the loss is 0 with zero gradient.

    Returns:
      float32 [N, H, W].
    """
    return -jnp.where(_has_class(labels), _at_label(jax.nn.log_softmax(logits), labels), 0.0)


def focal_map(
    logits: Float[Array, "N H W K"], labels: Int[Array, "N H W"], *, gamma: float
) -> Float[Array, "N H W"]:
    """Focal loss of every pixel, -(1 - p_y)^gamma log p_y, the segmentation loss of CLAN's released
    code with gamma = 2.

    The code clamps p to [1e-9, 1 - 1e-9], which also cuts the gradient off outside; reproduced. (In
    float32 the upper end is 1.)

    Args:
      logits: float32 [N, H, W, K].
      labels: int32 [N, H, W]; at ignored pixels the loss is 0 with zero gradient.
      gamma: 0 is the clamped cross-entropy.

    Returns:
      float32 [N, H, W].
    """
    log_prob = _at_label(jax.nn.log_softmax(logits), labels)
    floor = jnp.log(jnp.asarray(_SMALLEST, log_prob.dtype))
    log_prob = jnp.where(log_prob > floor, log_prob, floor)  # a constant where clamped: no gradient
    # -expm1 keeps the digits of 1 - p where p is nearly 1. Its power has no finite gradient at 0
    # for gamma < 1, hence the floor.
    miss = jnp.maximum(-jnp.expm1(log_prob), _SMALLEST)
    return -jnp.where(_has_class(labels), miss**gamma * log_prob, 0.0)


def _has_class(labels):
    return (labels >= 0) & (labels != IGNORED)


def _at_label(values, labels):
    """values [N, H, W, K] at each pixel's label, at class 0 where it has none: [N, H, W].

    A masked sum, since the gradient of a gather is slow.
    """
    classes = jnp.arange(values.shape[-1], dtype=labels.dtype).reshape(1, 1, 1, -1)
    is_label = jnp.where(_has_class(labels), labels, 0)[..., None] == classes  # [N, H, W, K]
    return jnp.where(is_label, values, 0.0).sum(-1)


def pixel_loss(
    logits: Float[Array, "N H W K"], labels: Int[Array, "N H W"], config: Any
) -> Float[Array, "N H W"]:
    """`cross_entropy_map` or `focal_map` of logits float32 [N, H, W, K] and labels int32 [N, H, W].

    Args:
      config: `kind`, "cross_entropy" or "focal"; `gamma`, read by the focal loss.

    Raises:
      ValueError: unknown kind.
    """
    if config.kind == "cross_entropy":
        return cross_entropy_map(logits, labels)
    if config.kind == "focal":
        return focal_map(logits, labels, gamma=config.gamma)
    raise ValueError(f"unknown segmentation loss '{config.kind}'; known: {', '.join(PIXEL_LOSSES)}")
