"""MSCAN's boundary-sensitive alignment: a source whose boundary is clear pulls harder on the
target.

The authors' slides on MSCAN; no code was released. What they leave open is named in
`source_weights`.
"""

import jax
import jax.numpy as jnp

WEIGHTINGS = ("bsa", "uniform", "one")
_FLOOR = 1e-6  # ours, of a cross-entropy: the slides do not say what becomes of 1 / 0


def source_weights(cross_entropies, *, weighting, stop_gradient=True):
    """w_e = (1 / ce_e) / sum_i (1 / ce_i), which sum to 1.

    Args:
      cross_entropies: float32 [E], of this batch (the slides do not say whether it is the batch's
        or an average).
      weighting: "bsa"; without it "uniform", 1 / E each, or "one", 1 each: the slides do not say
        which their "w/o BSA" is.
      stop_gradient: whether the weights are constants for the gradient (ours; not said).

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
    confidence = 1.0 / jnp.maximum(cross_entropies, _FLOOR)  # F_e
    weights = confidence / confidence.sum()
    return jax.lax.stop_gradient(weights) if stop_gradient else weights
