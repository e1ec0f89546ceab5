"""Adversarial losses on a discriminator's map, and what CLAN adds: where two classifiers disagree,
and how different they are.

Unreduced where a mean follows: reduce with `parallel.masked_mean`.
"""

import jax
import jax.numpy as jnp

# both repositories; the papers write them the other way round, which is only naming
SOURCE_LABEL, TARGET_LABEL = 0.0, 1.0
GAN_KINDS = ("vanilla", "least_squares")


def discriminator_map(logits, label, kind):
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


def discrepancy_map(logits_a, logits_b):
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


def self_adaptive_weights(disagreement, *, epsilon, local_weight):
    """epsilon + lambda_local * M, the weights of CLAN's adversarial loss (eq. 5; `Epsilon` and
    `Lambda_local` in CLAN_train.py).
    """
    return epsilon + local_weight * disagreement


def weight_cosine(head_a, head_b, *, with_biases):
    """Cosine between all parameters of two classifiers (CLAN, eq. 4), to be driven down so that
    they see differently.

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
