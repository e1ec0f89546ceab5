"""Adversarial alignment of features: DANN's gradient reversal and its domain loss, CDAN's
conditioning.

Ganin and Lempitsky, ICML 2015 (RevGrad); Ganin et al., JMLR 2016 (DANN); Long et al., NeurIPS 2018
(CDAN). As in thuml/Transfer-Learning-Library (tllib/modules/grl.py, alignment/dann.py,
alignment/cdan.py). The source's label is 1.
"""

import math

import jax
import jax.numpy as jnp

from dajax.typing import Array, Bool, Float, Int

_LOG_FLOOR = 1e-5  # of tllib's entropy: log(p + 1e-5)


@jax.custom_vjp
def reverse_gradient(
    x: Float[Array, "*shape"], coefficient: Float[Array, ""] | float
) -> Float[Array, "*shape"]:
    """`x`; its gradient comes back times -coefficient (the gradient reversal layer).

    Args:
      x: float array.
      coefficient: float scalar >= 0, which gets no gradient itself.
    """
    del coefficient
    return x


def _reverse_forward(x, coefficient):
    return x, coefficient


def _reverse_backward(coefficient, cotangent):
    return -coefficient * cotangent, jnp.zeros_like(coefficient)


reverse_gradient.defvjp(_reverse_forward, _reverse_backward)


def reversal_coefficient(
    step: Int[Array, ""] | int, *, low: float, high: float, alpha: float, ramp_steps: int
) -> Float[Array, ""]:
    """2 (high - low) / (1 + exp(-alpha step / ramp_steps)) - (high - low) + low: from `low` at step
    0 towards `high`.

    tllib's WarmStartGradientReverseLayer; alpha=1 over 1,000 steps there, alpha=10 over the whole
    training in the DANN paper.
    """
    progress = jnp.asarray(step).astype(jnp.float32) / ramp_steps
    return 2.0 * (high - low) / (1.0 + jnp.exp(-alpha * progress)) - (high - low) + low


def domain_losses(
    logits: Float[Array, " N"], is_source: Bool[Array, " N"] | bool
) -> Float[Array, " N"]:
    """Binary cross-entropy of the domain discriminator, label 1 for the source and 0 for the
    target.

    Args:
      logits: float32 [N], before the sigmoid.
      is_source: bool [N], or one bool for all rows.

    Returns:
      float32 [N].
    """
    return jax.nn.softplus(jnp.where(is_source, -logits, logits))


def conditioned_features(
    features: Float[Array, "N D"], logits: Float[Array, "N K"]
) -> Float[Array, "N K*D"]:
    """CDAN's multilinear map: the outer product of class probabilities, which get no gradient, and
    features.

    Args:
      features: float32 [N, D]; logits: float32 [N, K].

    Returns:
      float32 [N, K * D], class after class.
    """
    probabilities = jax.lax.stop_gradient(jax.nn.softmax(logits))
    return (probabilities[:, :, None] * features[:, None, :]).reshape(len(features), -1)


def randomized_features(
    features: Float[Array, "N D"],
    logits: Float[Array, "N K"],
    of_features: Float[Array, "D d"],
    of_classes: Float[Array, "K d"],
) -> Float[Array, "N d"]:
    """CDAN's randomised multilinear map: features and class probabilities, projected at random,
    multiplied.

    The probabilities get no gradient.

        (R_f f) * (R_p p) / sqrt(d)      (tllib/alignment/cdan.py, RandomizedMultiLinearMap)

    Args:
      features: float32 [N, D]; logits: float32 [N, K].
      of_features: float32 [D, d]; of_classes: float32 [K, d]; standard normal, drawn once.

    Returns:
      float32 [N, d].
    """
    probabilities = jax.lax.stop_gradient(jax.nn.softmax(logits))
    return (
        (features @ of_features) * (probabilities @ of_classes) / math.sqrt(of_features.shape[-1])
    )


def entropy_weights(logits: Float[Array, "N K"], mask: Bool[Array, " N"]) -> Float[Array, " N"]:
    """CDAN+E: 1 + exp(-H) of each row, 0 outside of the mask; H is the entropy of its prediction.

    A sure prediction weighs up to twice as much as an unsure one.

    Args:
      logits: float32 [N, K].
      mask: bool [N].

    Returns:
      float32 [N], without a gradient.
    """
    probabilities = jax.lax.stop_gradient(jax.nn.softmax(logits))
    entropy = -(probabilities * jnp.log(probabilities + _LOG_FLOOR)).sum(-1)
    return jnp.where(mask, 1.0 + jnp.exp(-entropy), 0.0)
