"""Cross-entropy on labelled source images."""

import jax.numpy as jnp
import optax

from dajax.typing import Array, Float, Int


def cross_entropy(logits: Float[Array, "N K"], labels: Int[Array, " N"]) -> Float[Array, " N"]:
    """Per-example softmax cross-entropy; reduce it with `parallel.masked_mean`.

    Args:
      logits: float32 [N, K].
      labels: int32 [N]; padded rows may have -1: mask their loss, which has no meaning.

    Returns:
      float32 [N].
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
