"""Per-pixel losses of semantic segmentation. All unreduced: reduce them with `parallel.masked_mean`
over `valid_pixels`.
"""

import jax
import jax.numpy as jnp

from dajax.ops.labels import IGNORED

# Values of `kind` -> the settings that each needs beside it; see pixel_loss.
PIXEL_LOSSES = {"cross_entropy": (), "focal": ("gamma",)}
# CLAN, utils/loss.py (CrossEntropy2d with gamma): probabilities are clamped before the logarithm.
_SMALLEST = 1e-9


def valid_pixels(labels, mask):
    """bool [N, H, W]: pixels with a class, in rows that are no padding.

    Args:
      labels: int32 [N, H, W], 255 (or any negative number) ignored.
      mask: bool [N], False in padded rows.
    """
    return (labels >= 0) & (labels != IGNORED) & mask[:, None, None]


def cross_entropy_map(logits, labels):
    """Softmax cross-entropy of every pixel, the segmentation loss of AdaptSegNet (utils/loss.py).

    Args:
      logits: float32 [N, H, W, K].
      labels: int32 [N, H, W]; at ignored pixels the loss is 0 with zero gradient.

    Returns:
      float32 [N, H, W].
    """
    return -jnp.where(_has_class(labels), _at_label(jax.nn.log_softmax(logits), labels), 0.0)


def focal_map(logits, labels, *, gamma):
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
    """values [N, H, W, K] at each pixel's label; class 0's where it has none. A masked sum, since
    gathers are slow backwards.
    """
    classes = jnp.arange(values.shape[-1], dtype=labels.dtype).reshape(1, 1, 1, -1)
    is_label = jnp.where(_has_class(labels), labels, 0)[..., None] == classes  # [N, H, W, K]
    return jnp.where(is_label, values, 0.0).sum(-1)


def pixel_loss(logits, labels, config):
    """`cross_entropy_map` or `focal_map`, as `config.kind` and `config.gamma` say.

    Raises:
      ValueError: unknown kind.
    """
    if config.kind == "cross_entropy":
        return cross_entropy_map(logits, labels)
    if config.kind == "focal":
        return focal_map(logits, labels, gamma=config.gamma)
    raise ValueError(f"unknown segmentation loss '{config.kind}'; known: {', '.join(PIXEL_LOSSES)}")
