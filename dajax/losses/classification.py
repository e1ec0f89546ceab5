"""Cross-entropy on labelled source images."""

import jax.numpy as jnp
import optax

from dajax.losses.label_smoothing import adaptive_label_smoothing
from dajax.typing import Array, Float, Int


def cross_entropy(
    logits: Float[Array, "N K"], labels: Int[Array, " N"], smoothing: float = 0.0
) -> Float[Array, " N"]:
    """Per-example softmax cross-entropy; reduce it with `parallel.masked_mean`.

    Args:
      logits: float32 [N, K].
      labels: int32 [N]; padded rows may have -1: mask their loss, which has no meaning.
      smoothing: the share of a label that all classes have in equal parts (SHOT, loss.py,
        CrossEntropyLabelSmooth: 0.1).

    Returns:
      float32 [N].
    """
    plain = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    if not smoothing:
        return plain
    uniform = adaptive_label_smoothing(logits, 0)
    return (1.0 - smoothing) * plain + smoothing * uniform
