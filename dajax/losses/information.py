"""SHOT's information maximisation (Liang et al., ICML 2020; tim-learn/SHOT, f7d555a): each
prediction sure, all classes predicted.
"""

import jax
import jax.numpy as jnp

from dajax.typing import Array, Bool, Float

_LOG_FLOOR = 1e-5  # loss.py, Entropy; it shifts an entropy in its fourth digit


def information_maximisation(
    logits: Float[Array, "N K"], mask: Bool[Array, " N"]
) -> Float[Array, ""]:
    """mean_i H(p_i) - H(mean_i p_i) with H(p) = -sum_k p_k log(p_k + 1e-5).

    Args:
      logits: float32 [N, K], the WHOLE batch (`parallel.gather`).
      mask: bool [N], rows that count.

    Returns:
      float32 scalar; 0 without a gradient where no row counts.
    """
    counts, count = mask[:, None], jnp.maximum(mask.sum(dtype=jnp.float32), 1.0)
    probabilities = jax.nn.softmax(jnp.where(counts, logits, 0.0))
    probabilities = jnp.where(counts, probabilities, 0.0)  # a row of zeros has no entropy
    return _entropy(probabilities).sum() / count - _entropy(probabilities.sum(0) / count)


def _entropy(probabilities):
    return -(probabilities * jnp.log(probabilities + _LOG_FLOOR)).sum(-1)
