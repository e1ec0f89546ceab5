"""Losses on labels that are soft, or that may be wrong. They are not reduced: take
`parallel.masked_mean`.
"""

import jax
import jax.numpy as jnp

from dajax.losses.label_smoothing import adaptive_label_smoothing
from dajax.ops.labels import IGNORED
from dajax.ops.rectification import assignment_divergence_map
from dajax.typing import Array, Float, Int


def soft_cross_entropy_map(
    logits: Float[Array, "N H W K"], labels: Float[Array, "N H W K"]
) -> Float[Array, "N H W"]:
    """-sum_c y_c log p_c of every pixel, float32 [N, H, W]: FADA's discriminator
    (train_adv.py, soft_label_cross_entropy) and LRENT's self-training (CRST, crst_seg.py).

    Args:
      logits: float32 [N, H, W, K].
      labels: float32 [N, H, W, K]; they need not sum to 1.
    """
    return -(labels * jax.nn.log_softmax(logits)).sum(-1)


def uniform_divergence_map(logits: Float[Array, "N H W K"]) -> Float[Array, "N H W"]:
    """-(1/K) sum_c log p_c of every pixel, float32 [N, H, W]: the cross-entropy of a uniform label,
    which is CRST's MRKLD (reg_loss_calc of crst_seg.py; ProDA, regular_loss) and keeps predictions
    from being too sure.

    Args:
      logits: float32 [N, H, W, K].
    """
    return adaptive_label_smoothing(logits, 0.0)


def entropy_regularised_labels(
    probabilities: Float[Array, "N H W K"], thresholds: Float[Array, " K"], *, alpha: float
) -> Float[Array, "N H W K"]:
    """CRST's LRENT: the soft labels that minimise their cross-entropy with p / threshold plus alpha
    times their negative entropy, y_c ~ (p_c / threshold_c)^(1 / alpha); float32 [N, H, W, K].

    All zero where no label is better than a wrong one: where max_c p_c / threshold_c < 1, as
    for hard labels. crst_seg.py writes it as a difference of two losses, whose rounding decides
    otherwise for about one pixel in a thousand.

    Args:
      probabilities: float32 [N, H, W, K].
      thresholds: float32 [K], of pseudo_labels.portion_thresholds.
      alpha: 0.25 in the code (mr_weight_ent's label counterpart, lr_weight_ent).
    """
    limits = thresholds.reshape(1, 1, 1, -1)
    soft = jax.nn.softmax((jnp.log(probabilities) - jnp.log(limits)) / alpha)
    return jnp.where((probabilities >= limits).any(-1, keepdims=True), soft, 0.0)


def reverse_cross_entropy_map(
    logits: Float[Array, "N H W K"],
    labels: Int[Array, "N H W"],
    *,
    smallest_probability: float,
    smallest_label: float,
) -> Float[Array, "N H W"]:
    """-sum_c p_c log y_c with one-hot labels, clipped since log 0 is infinite: the second half of
    symmetric cross-entropy (Wang et al., ICCV 2019), as ProDA has it (`rce` of
    adaptation_modelv2.py). 0 at pixels without a class.

    Args:
      logits: float32 [N, H, W, K].
      labels: int32 [N, H, W], 255 ignored.
      smallest_probability: p is clipped to at least this, 1e-7 in ProDA's code.
      smallest_label: a label's 0 counts as this, 1e-4 in ProDA's code.

    Returns:
      float32 [N, H, W].
    """
    prob = jnp.clip(jax.nn.softmax(logits), smallest_probability, 1.0)
    classes = jnp.arange(logits.shape[-1], dtype=labels.dtype).reshape(1, 1, 1, -1)
    others = jnp.where(labels[..., None] == classes, 0.0, prob).sum(-1)
    weight = -jnp.log(jnp.asarray(smallest_label, logits.dtype))
    return jnp.where((labels >= 0) & (labels != IGNORED), weight * others, 0.0)


def distillation_map(
    logits: Float[Array, "N H W K"], teacher: Float[Array, "N H W K"], *, as_released: bool = True
) -> Float[Array, "N H W"]:
    """ProDA's knowledge distillation, of its stages 2 and 3 (adaptation_modelv2.py,
    step_distillation): the mean over classes of q_c (log q_c - log p_c), float32 [N, H, W], q being
    the teacher's probabilities and a constant.

    Args:
      logits: float32 [N, H, W, K], of the student.
      teacher: float32 [N, H, W, K], logits of the network before.
      as_released: p_c in place of log p_c, since the code gives F.kl_div probabilities, which its
        author confirmed to be a slip (issues 20 and 43). That is no divergence: it can be negative,
        and is least for a student that is sure of the teacher's most probable class. False: the
        formula above, which was meant.
    """
    constant = jax.nn.log_softmax(jax.lax.stop_gradient(teacher))
    seen = jax.nn.softmax if as_released else jax.nn.log_softmax
    return assignment_divergence_map(constant, seen(logits))
