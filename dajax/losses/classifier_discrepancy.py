"""MCD: how much two classifiers differ on the target, and how balanced their predictions are.

Saito et al., CVPR 2018; thuml/Transfer-Learning-Library, tllib/alignment/mcd.py.
"""

import jax.numpy as jnp

from dajax.typing import Array, Bool, Float

_LOG_FLOOR = 1e-6  # tllib


def classifier_discrepancy(
    probabilities_a: Float[Array, "N K"], probabilities_b: Float[Array, "N K"]
) -> Float[Array, " N"]:
    """mean_k |p_a - p_b| of each row: float32 [N, K], [N, K] -> float32 [N]; reduce it with
    `parallel.masked_mean`.
    """
    return jnp.abs(probabilities_a - probabilities_b).mean(-1)


def negative_log_balance(
    probabilities: Float[Array, "N K"], mask: Bool[Array, " N"]
) -> Float[Array, ""]:
    """-mean_k log(mean_i p_ik + 1e-6): small where all classes are predicted equally often over the
    batch.

    Args:
      probabilities: float32 [N, K], the WHOLE batch (`parallel.gather`); mask: bool [N].

    Returns:
      float32 scalar; 0 with zero gradient where no row is valid.
    """
    weights = mask.astype(jnp.float32)[:, None]
    mean = (probabilities * weights).sum(0) / jnp.maximum(weights.sum(), 1.0)  # [K]
    return jnp.where(
        mask.any(), -jnp.log(jnp.where(mask.any(), mean, 1.0) + _LOG_FLOOR).mean(), 0.0
    )
