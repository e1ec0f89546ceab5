"""Pseudo-labels of a batch from a network's own two heads: MaxSquare's multi-level self-produced
guidance (Chen, Xue and Cai, ICCV 2019, section 3.4; tools/solve_gta5.py).
"""

import jax
import jax.numpy as jnp

from dajax.ops.labels import IGNORED
from dajax.typing import Array, Float, Int


def guided_labels(
    logits: Float[Array, "N H W K"], aux_logits: Float[Array, "N H W K"], *, threshold: float
) -> Int[Array, "N H W"]:
    """The most probable class of the mean of both heads' probabilities, where either head is sure.

    Args:
      logits, aux_logits: float32 [N, H, W, K], of the main and the auxiliary head.
      threshold: a head is sure above it; 0.95 in MaxSquare's command.

    Returns:
      int32 [N, H, W], 255 where neither head is sure.
    """
    main, aux = jax.nn.softmax(logits), jax.nn.softmax(aux_logits)
    is_sure = (main.max(-1) > threshold) | (aux.max(-1) > threshold)
    return jnp.where(is_sure, (main + aux).argmax(-1).astype(jnp.int32), IGNORED)
