"""MDD, margin disparity discrepancy (Zhang et al., ICML 2019; thuml/MDD, 51e5484): how far an
adversary can part from the classifier on the target while it agrees on the source.
"""

import jax
import jax.numpy as jnp

from dajax.losses.classification import cross_entropy
from dajax.typing import Array, Float


def source_disparity(
    adversary_logits: Float[Array, "N K"], logits: Float[Array, "N K"]
) -> Float[Array, " N"]:
    """Cross-entropy of the adversary against the classifier's own class, which has no gradient.

    Args:
      adversary_logits, logits: float32 [N, K], of both heads on the source.

    Returns:
      float32 [N]; reduce it with `parallel.masked_mean`.
    """
    return cross_entropy(adversary_logits, _classes(logits))


def target_disparity(
    adversary_logits: Float[Array, "N K"], logits: Float[Array, "N K"], log_floor: float
) -> Float[Array, " N"]:
    """-log(1 - p) with p the adversary's probability of the classifier's class, which has no
    gradient.

    1 - p is computed without cancellation. The authors' plain log(1 - p) is inf where p rounds to
    1.

    Args:
      adversary_logits, logits: float32 [N, K], of both heads on the target; K at least 2.
      log_floor: 1e-6 is tllib's -log min(1 - p + 1e-6, 1): at most 13.8, and without a gradient
        there. 0: the formula itself, which has a gradient of 1 there.

    Returns:
      float32 [N]; reduce it with `parallel.masked_mean`.
    """
    is_own = jax.nn.one_hot(_classes(logits), logits.shape[1], dtype=bool)
    others = jnp.where(is_own, -jnp.inf, adversary_logits)
    exact = jax.nn.logsumexp(adversary_logits, axis=-1) - jax.nn.logsumexp(others, axis=-1)
    if not log_floor:
        return exact
    return -jnp.log(jnp.minimum(jnp.exp(-exact) + log_floor, 1.0))


def _classes(logits):
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)
