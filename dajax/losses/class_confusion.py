"""Four rivals that act on one matrix, the class probabilities of a target batch: minimum class
confusion (MCC) and batch nuclear-norm maximisation (BNM) with its fast and its Frobenius form.

Jin et al., ECCV 2020 (MCC; thuml/Versatile-Domain-Adaptation, db5012a); Cui et al., CVPR 2020 (BNM;
cuishuhao/BNM, 2d23c61, with FBNM and BFM). All take the WHOLE batch (`parallel.gather`); rows that
do not count have no part in it, and a batch without rows gives 0 without a gradient.
"""

import jax
import jax.numpy as jnp

from dajax.losses.domain_adversarial import entropy_weights
from dajax.ops.lengths import lengths
from dajax.typing import Array, Bool, Float

_TINY = 1e-37  # below, 1 / x is no float32


def minimum_class_confusion(
    logits: Float[Array, "N K"], mask: Bool[Array, " N"], temperature: float
) -> Float[Array, ""]:
    """(sum C - trace C) / K of `class_confusion`, whose arguments it takes: float32 scalar.

    Summed off the diagonal: the difference of both sums has no digits left where classes are
    hardly confused.
    """
    confusion = class_confusion(logits, mask, temperature)
    off_diagonal = ~jnp.eye(len(confusion), dtype=bool)
    return jnp.where(off_diagonal, confusion, 0.0).sum() / len(confusion)


def class_confusion(
    logits: Float[Array, "N K"], mask: Bool[Array, " N"], temperature: float
) -> Float[Array, "K K"]:
    """p^T diag(w) p with p = softmax(z / T), each column over the sum of the row of its number.

    w_i = n (1 + e^-H_i) / sum_j (1 + e^-H_j), without a gradient: sure predictions count more.

    Args:
      logits: float32 [N, K]; mask: bool [N], rows that count, n of them.
      temperature: T, 2.5 in the authors' code.

    Returns:
      float32 [K, K]; zeros in the column of a class without any mass.
    """
    scaled = jnp.where(mask[:, None], logits, 0.0) / temperature
    probabilities = jnp.where(mask[:, None], jax.nn.softmax(scaled), 0.0)
    certainty = entropy_weights(scaled, mask)  # [N]
    weights = mask.sum(dtype=jnp.float32) * certainty / jnp.maximum(certainty.sum(), 1.0)
    confusion = jnp.matmul(
        probabilities.T, weights[:, None] * probabilities, precision="highest"
    )  # [K, K]
    sums = confusion.sum(1)
    # A quotient's derivative has the square of the divisor, which is 0 in float32 where a class has
    # little mass. A logarithm's has not.
    return confusion * jnp.exp(-jnp.log(jnp.where(sums > _TINY, sums, 1.0)))[None]


def nuclear_norm(logits: Float[Array, "N K"], mask: Bool[Array, " N"]) -> Float[Array, ""]:
    """BNM: minus the mean of the min(n, K) singular values of the probabilities.

    Args:
      logits: float32 [N, K]; mask: bool [N], rows that count, n of them.

    Returns:
      float32 scalar.
    """
    probabilities, count = _probabilities(logits, mask)
    return -jnp.linalg.svd(probabilities, compute_uv=False).sum() / count


def fast_nuclear_norm(logits: Float[Array, "N K"], mask: Bool[Array, " N"]) -> Float[Array, ""]:
    """FBNM: minus the mean of the min(n, K) largest lengths of the probabilities' columns, without
    a singular value decomposition. Arguments as `nuclear_norm`.
    """
    probabilities, count = _probabilities(logits, mask)
    largest = jnp.sort(lengths(probabilities.T), descending=True)  # [K]
    place = jnp.arange(len(largest), dtype=jnp.float32)
    return -jnp.where(place < count, largest, 0.0).sum() / count


def frobenius_norm(logits: Float[Array, "N K"], mask: Bool[Array, " N"]) -> Float[Array, ""]:
    """BFM, to which BNM's authors compare: minus the root of the mean of the min(n, K) squared
    singular values. Arguments as `nuclear_norm`.
    """
    probabilities, count = _probabilities(logits, mask)
    return -lengths(probabilities.reshape(-1)) / jnp.sqrt(count)


def _probabilities(logits, mask):
    """(softmax float32 [N, K], zeros in rows that do not count; min(n, K), at least 1)."""
    probabilities = jax.nn.softmax(jnp.where(mask[:, None], logits, 0.0))
    count = jnp.clip(mask.sum(dtype=jnp.float32), 1.0, logits.shape[1])
    return jnp.where(mask[:, None], probabilities, 0.0), count
