"""Adversarial losses on a discriminator's map, and CLAN's additions: a map of where two classifiers
disagree, and a loss that keeps their weights apart.

The maps are not reduced: take their mean with `parallel.masked_mean`.
"""

import jax
import jax.numpy as jnp

from dajax.typing import Array, Float, PyTree

# As in both repositories (AdaptSegNet, CLAN); the papers number the domains the other way round.
SOURCE_LABEL, TARGET_LABEL = 0.0, 1.0
GAN_KINDS = ("vanilla", "least_squares")


def discriminator_map(
    logits: Float[Array, "N h w"], label: float, kind: str
) -> Float[Array, "N h w"]:
    """Loss of every position of a discriminator's output against one constant label.

    "vanilla": binary cross-entropy with logits, log(1 + exp(x)) - x t. "least_squares": (x - t)^2
    on the raw output (AdaptSegNet, `--gan LS`).

    Args:
      logits: float32 [N, h, w].
      label: SOURCE_LABEL or TARGET_LABEL.
      kind: one of GAN_KINDS.

    Returns:
      float32 [N, h, w].

    Raises:
      ValueError: unknown kind.
    """
    if kind == "least_squares":
        return jnp.square(logits - label)
    if kind != "vanilla":
        raise ValueError(f"unknown gan '{kind}'; known: {', '.join(GAN_KINDS)}")
    return jax.nn.softplus(logits) - logits * label


def discrepancy_map(
    logits_a: Float[Array, "N H W K"], logits_b: Float[Array, "N H W K"]
) -> Float[Array, "N H W"]:
    """1 - cosine of the two classifiers' class probabilities (CLAN, eq. 5 and
    CLAN_train.weightmap); large where they disagree.

    Args:
      logits_a, logits_b: float32 [N, H, W, K].

    Returns:
      float32 [N, H, W] in [0, 1]. The norms need no epsilon: probabilities sum to 1.
    """
    a, b = jax.nn.softmax(logits_a), jax.nn.softmax(logits_b)
    dot = (a * b).sum(-1)
    return 1.0 - dot / jnp.sqrt(jnp.square(a).sum(-1) * jnp.square(b).sum(-1))


def self_adaptive_weights(
    disagreement: Float[Array, "N H W"], *, epsilon: float, local_weight: float
) -> Float[Array, "N H W"]:
    """epsilon + lambda_local * M, the weights of CLAN's adversarial loss (eq. 5; `Epsilon` and
    `Lambda_local` in CLAN_train.py).
    """
    return epsilon + local_weight * disagreement


def weight_cosine(
    head_a: PyTree[Float[Array, "..."]], head_b: PyTree[Float[Array, "..."]], *, with_biases: bool
) -> Float[Array, ""]:
    """Cosine between all parameters of two classifiers (CLAN, eq. 4). CLAN minimises it, so that
    the two learn different views.

    Args:
      head_a, head_b: parameter trees of the same structure.
      with_biases: True, the released code. False, the paper: convolution filters only.

    Returns:
      float32 scalar in [-1, 1].
    """
    pairs = [
        (a, b)
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(head_a), jax.tree.leaves(head_b), strict=True
        )
        if with_biases or path[-1].key != "bias"
    ]
    dot = sum(jnp.vdot(a, b) for a, b in pairs)
    return dot / jnp.sqrt(
        sum(jnp.vdot(a, a) for a, _ in pairs) * sum(jnp.vdot(b, b) for _, b in pairs)
    )
