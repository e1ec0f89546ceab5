"""Entropy of a segmenter's predictions, which methods minimise where there are no labels (DASS,
damnet_trainer.py).
"""

import jax
import jax.numpy as jnp

from dajax.typing import Array, Float


def entropy_map(
    logits: Float[Array, "N H W K"], *, double_softmax: bool = False
) -> Float[Array, "N H W"]:
    """-sum_c p_c log p_c of every pixel, in nats.

    Args:
      logits: float [N, H, W, K].
      double_softmax: DASS's released code hands the PROBABILITIES to log_softmax: -sum_c p_c
        log softmax(p)_c. For 19 classes its values lie in [2.03, 2.94] instead of [0, 2.94], and
        its gradient is weak.

    Returns:
      float32 [N, H, W]; finite, with a finite gradient, for any finite logits.
    """
    log_prob = jax.nn.log_softmax(logits.astype(jnp.float32))
    prob = jnp.exp(log_prob)
    return -(prob * (jax.nn.log_softmax(prob) if double_softmax else log_prob)).sum(-1)
