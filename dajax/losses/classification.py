"""Cross-entropy on labelled source images."""

import jax.numpy as jnp
import optax


def cross_entropy(logits, labels):
    """Per-example softmax cross-entropy; reduce it with `parallel.masked_mean`.

    Args:
      logits: float32 [N, K].
      labels: int32 [N]; entries of padded rows may be -1, their loss is meaningless and must be
        masked.

    Returns:
      float32 [N].
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
