"""MSCAN's boundary-sensitive alignment: a source whose boundary is clear pulls harder on the
target.

The authors' slides on MSCAN; no code was released. What they leave open is named in
`source_weights`.
"""

import jax
import jax.numpy as jnp

from dajax.typing import Array, Float

WEIGHTINGS = ("bsa", "uniform", "one")
FLOOR = 1e-6  # ours: the slides do not say what 1 / 0 becomes


def source_weights(
    cross_entropies: Float[Array, " E"],
    *,
    weighting: str,
    floor: float = FLOOR,
    stop_gradient: bool = True,
) -> Float[Array, " E"]:
    """w_e = (1 / ce_e) / sum_i (1 / ce_i), which sum to 1.

    Args:
      cross_entropies: float32 [E]. The slides do not say over what images; the method decides.
      weighting: "bsa", the formula above. "uniform", 1 / E each, and "one", 1 each, are the two
        readings of the slides' ablation "w/o BSA".
      floor: of "bsa": smaller cross-entropies count as this one, above 0. Sources that are all
        learnt to that degree pull alike (ours).
      stop_gradient: whether the weights are constants for the gradient (ours; the slides do not
        say).

    Returns:
      float32 [E].

    Raises:
      ValueError: unknown weighting.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f"unknown weighting '{weighting}'; known: {', '.join(WEIGHTINGS)}")
    if weighting != "bsa":
        return jnp.full_like(
            cross_entropies, 1.0 / len(cross_entropies) if weighting == "uniform" else 1.0
        )
    confidence = 1.0 / jnp.maximum(cross_entropies, floor)  # F_e
    weights = confidence / confidence.sum()
    return jax.lax.stop_gradient(weights) if stop_gradient else weights
