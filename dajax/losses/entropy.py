"""Entropy of a segmenter's predictions, to be driven down where there are no labels (DASS,
damnet_trainer.py).
"""

import jax
import jax.numpy as jnp


def entropy_map(logits, *, double_softmax=False):
    """-sum_c p_c log p_c of every pixel, in nats.

    Args:
      logits: float [N, H, W, K].
      double_softmax: DASS's released code, which hands the PROBABILITIES to log_softmax: -sum_c p_c
        log softmax(p)_c. For 19 classes its values lie in [2.03, 2.94] instead of [0, 2.94], and
        its gradient is weak (spec/spcl_bicl.md, B2).

    Returns:
      float32 [N, H, W]; finite, with a finite gradient, for any finite logits.
    """
    log_prob = jax.nn.log_softmax(logits.astype(jnp.float32))
    prob = jnp.exp(log_prob)
    return -(prob * (jax.nn.log_softmax(prob) if double_softmax else log_prob)).sum(-1)
