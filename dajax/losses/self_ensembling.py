"""Self-ensembling (French et al., ICLR 2018; self-ensemble-visual-domain-adapt, a9808a1, and
-photo, 77fe106): the student is to say of a target image what its teacher says, where that is sure.
"""

import jax
import jax.numpy as jnp

from dajax.typing import Array, Bool, Float

BALANCES = ("bce", "log", "bug")
_LOG_FLOOR = 1e-6  # robust_binary_crossentropy


def self_ensembling(
    student_logits: Float[Array, "N K"],
    teacher_logits: Float[Array, "N K"],
    mask: Bool[Array, " N"],
    *,
    threshold: float,
    balance: str,
    balance_weight: float,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """mean_i m_i mean_k (p_s - p_t)^2_ik + balance_weight * class_balance(mean_i p_s) * mean_i m_i.

    Args:
      student_logits, teacher_logits: float32 [N, K], the WHOLE batch (`parallel.gather`); the
        teacher's get no gradient.
      mask: bool [N], rows that count.
      threshold: m_i is whether the teacher's largest probability is above it.
      balance: one of BALANCES. balance_weight: of that term.

    Returns:
      (float32 scalar, the mean of m: float32 scalar); 0 without a gradient where no row counts or
      none passes the threshold.
    """
    teacher, student = (
        jax.nn.softmax(jnp.where(mask[:, None], logits, 0.0))
        for logits in (jax.lax.stop_gradient(teacher_logits), student_logits)
    )
    count = jnp.maximum(mask.sum(dtype=jnp.float32), 1.0)

    def mean(values):  # over the rows that count
        return (
            jnp.where(jnp.expand_dims(mask, tuple(range(1, values.ndim))), values, 0.0).sum(0)
            / count
        )

    sure = teacher.max(-1) > threshold
    share = mean(sure.astype(jnp.float32))
    consistency = mean(jnp.where(sure, jnp.square(student - teacher).mean(-1), 0.0))
    balanced = class_balance(mean(student), balance)
    return consistency + balance_weight * jnp.where(share > 0, balanced * share, 0.0), share


def class_balance(mean_probabilities: Float[Array, " K"], kind: str) -> Float[Array, ""]:
    """sum_k of the binary cross-entropy of q_k against 1 / K: small where all classes are predicted
    alike.

    Args:
      mean_probabilities: float32 [K], q.
      kind: "bce": -(1/K log q + (1 - 1/K) log(1 - q)). "bug", as the photos' code has it and keeps
        it, since mending it lowered the authors' figures: 1 + q in place of 1 - q. "log": -log q.

    Returns:
      float32 scalar.
    """
    q, even = mean_probabilities, 1.0 / len(mean_probabilities)
    own = jnp.log(q + _LOG_FLOOR)
    if kind == "log":
        return -own.sum()
    rest = jnp.log((1.0 + q if kind == "bug" else 1.0 - q) + _LOG_FLOOR)
    return -(even * own + (1.0 - even) * rest).sum()
