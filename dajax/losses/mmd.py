"""Maximum mean discrepancy between a batch of each domain: DAN's MK-MMD, JAN's JMMD, and both as
CAN's repository computes them.

DAN: Long et al., ICML 2015; JAN: Long et al., ICML 2017, both as thuml/Transfer-Learning-Library
computes them (tllib/alignment/dan.py, jan.py). tllib adds the constant 2 / (n - 1), which has no
gradient and is left out here. CAN's repository: discrepancy/mmd.py, JMMD with joint=True.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from dajax.losses.kernels import distances_within, multi_kernel
from dajax.typing import Array, Bool, Float

STATISTICS = ("linear", "quadratic")
# The bandwidths of the five kernels: 2 ** k, k = -3 .. 1 (tllib, examples dan.py and jan.py).
ALPHAS = (0.125, 0.25, 0.5, 1.0, 2.0)
_VARIANCE_FLOOR = 1e-12  # ours: identical rows have spread 0, and with any floor a kernel of 1


def gaussian_kernels(
    source: Float[Array, "n_s d"],
    target: Float[Array, "n_t d"],
    source_mask: Bool[Array, " n_s"],
    target_mask: Bool[Array, " n_t"],
    *,
    alphas: Sequence[float],
) -> Float[Array, "n_s+n_t n_s+n_t"]:
    """sum_alpha exp(-d / (2 alpha s)), s the mean of d over all pairs of valid rows, the diagonal
    included, without a gradient.

    Args:
      source: float32 [n_s, d]; target: float32 [n_t, d]; masks bool [n_s], [n_t].
      alphas: bandwidths as multiples of s.

    Returns:
      float32 [n_s + n_t, n_s + n_t]; the source's rows come first.
    """
    distances, valid = _pairs(source, target, source_mask, target_mask)
    spread = jnp.where(valid, distances, 0.0).sum() / jnp.maximum(valid.sum(dtype=jnp.float32), 1.0)
    spread = jnp.maximum(jax.lax.stop_gradient(spread), _VARIANCE_FLOOR)
    return sum(jnp.exp(-distances / (2.0 * alpha * spread)) for alpha in alphas)


def fixed_kernel(
    source: Float[Array, "n_s d"], target: Float[Array, "n_t d"], *, sigma: float
) -> Float[Array, "n_s+n_t n_s+n_t"]:
    """exp(-d / (2 sigma^2)): one bandwidth, which JAN has for the class probabilities. Shapes as in
    `gaussian_kernels`.
    """
    rows = jnp.concatenate([source, target])
    return jnp.exp(-distances_within(rows) / (2.0 * sigma**2))


def discrepancy(
    kernel: Float[Array, "n n"],
    source_mask: Bool[Array, " n_s"],
    target_mask: Bool[Array, " n_t"],
    *,
    statistic: str,
) -> Float[Array, ""]:
    """MMD^2 of one kernel matrix.

    Args:
      kernel: float32 [n_s + n_t, n_s + n_t].
      source_mask, target_mask: bool [n_s], [n_t], the rows that count.
      statistic: "quadratic", all pairs, unbiased within a domain:
        mean_{i != j} K_ss + mean_{i != j} K_tt - 2 mean K_st. "linear", neighbours in the batch:
        mean_i K(s_i, s_i+1) + K(t_i, t_i+1) - K(s_i, t_i+1) - K(s_i+1, t_i), indices modulo n;
        needs n_s = n_t.

    Returns:
      float32 scalar; may be negative. 0 where a domain has no row.

    Raises:
      ValueError: unknown statistic, or the linear one with batches of two sizes.
    """
    if statistic not in STATISTICS:
        raise ValueError(f"unknown statistic '{statistic}'; known: {', '.join(STATISTICS)}")
    n_s, n_t = len(source_mask), len(target_mask)
    if statistic == "linear":
        if n_s != n_t:
            raise ValueError(
                f"the linear statistic pairs rows: source batch {n_s} and target batch {n_t} must"
                " be equal"
            )
        return _linear(kernel, source_mask, target_mask)

    def mean(block, left, right, off_diagonal):
        pairs = left[:, None] & right[None, :]
        pairs &= ~jnp.eye(len(left), dtype=bool) if off_diagonal else True
        return jnp.where(pairs, block, 0.0).sum() / jnp.maximum(pairs.sum(dtype=jnp.float32), 1.0)

    value = (
        mean(kernel[:n_s, :n_s], source_mask, source_mask, True)
        + mean(kernel[n_s:, n_s:], target_mask, target_mask, True)
        - 2.0 * mean(kernel[:n_s, n_s:], source_mask, target_mask, False)
    )
    return jnp.where(source_mask.any() & target_mask.any(), value, 0.0)


def _linear(kernel, source_mask, target_mask):
    n = len(source_mask)
    here, after = jnp.arange(n), (jnp.arange(n) + 1) % n
    terms = (
        kernel[here, after]
        + kernel[n + here, n + after]
        - kernel[here, n + after]
        - kernel[after, n + here]
    )
    both = source_mask & target_mask
    valid = both & both[after]
    return jnp.where(valid, terms, 0.0).sum() / jnp.maximum(valid.sum(dtype=jnp.float32), 1.0)


def can_mmd(
    source_layers: Sequence[Float[Array, "n_s _"]],
    target_layers: Sequence[Float[Array, "n_t _"]],
    source_mask: Bool[Array, " n_s"],
    target_mask: Bool[Array, " n_t"],
    *,
    kernel_num: Sequence[int],
    kernel_mul: Sequence[float],
    joint: bool,
) -> Float[Array, ""]:
    """MMD and JMMD of several layers as CAN's repository has them: biased means, and CDD's
    bandwidths and clips.

    Args:
      source_layers, target_layers: per layer float32 [n_s, d], [n_t, d]; masks bool [n_s], [n_t].
      kernel_num, kernel_mul: per layer, see kernels.multi_kernel.
      joint: multiply the layers' kernels (JMMD) instead of adding them (MMD).

    Returns:
      float32 scalar; 0 where a domain has no row.
    """
    kernels = []
    for source, target, num, mul in zip(
        source_layers, target_layers, kernel_num, kernel_mul, strict=True
    ):
        distances, valid = _pairs(source, target, source_mask, target_mask)
        count = jnp.concatenate([source_mask, target_mask]).sum(dtype=jnp.float32)
        # The mean over the pairs off the diagonal; the diagonal adds nothing to the sum.
        spread = jax.lax.stop_gradient(
            jnp.where(valid, distances, 0.0).sum() / jnp.maximum(count * (count - 1.0), 1.0)
        )
        kernels.append(multi_kernel(distances, spread, num=num, mul=mul))
    kernel = sum(kernels)
    if joint:
        kernel = kernels[0]
        for other in kernels[1:]:
            kernel = kernel * other
    signs = jnp.concatenate([_row_weights(source_mask), -_row_weights(target_mask)])
    value = (kernel * signs[:, None] * signs[None, :]).sum()
    return jnp.where(source_mask.any() & target_mask.any(), value, 0.0)


def _row_weights(mask):
    """1 / n for each of n valid rows, 0 for the others."""
    weights = mask.astype(jnp.float32)
    return weights / jnp.maximum(weights.sum(), 1.0)


def _pairs(source, target, source_mask, target_mask):
    """Squared distances between all rows of both domains, and which pairs are of valid rows: [n_s +
    n_t, n_s + n_t], float32 and bool.
    """
    rows, mask = jnp.concatenate([source, target]), jnp.concatenate([source_mask, target_mask])
    return distances_within(rows), mask[:, None] & mask[None, :]
