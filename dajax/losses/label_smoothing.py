"""Adaptive label smoothing: PLCA's regulariser of predictions that are too sure or not sure enough
(Kang et al., NeurIPS 2020).
"""

import jax

from dajax.typing import Array, Float


def adaptive_label_smoothing(
    logits: Float[Array, "*pixels K"], threshold: float
) -> Float[Array, "*pixels"]:
    """sg(l / threshold - 1) l of every pixel, with l = -mean_k log p_k, the cross-entropy against
    the uniform distribution.

    The factor is a constant for the gradient, and draws l towards the threshold: where l is below
    it, the factor is negative and makes the prediction surer; above it, less sure. Not reduced:
    take `parallel.masked_mean`. PLCA's code averages over all pixels of the logits before
    up-sampling, void pixels included.

    Args:
      logits: float32 [..., K].
      threshold: 10 in PLCA, by its paper a largest probability of about 0.999. 0 gives l itself,
        plain label smoothing.

    Returns:
      float32 [...]; usually negative where threshold > 0.
    """
    smoothing = -jax.nn.log_softmax(logits).mean(-1)
    if threshold == 0:
        return smoothing
    return jax.lax.stop_gradient(smoothing / threshold - 1.0) * smoothing
