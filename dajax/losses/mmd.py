"""Maximum mean discrepancy of one batch of each domain: DAN's MK-MMD, JAN's JMMD, and the form of
both in CAN's repository.

DAN: Long et al., ICML 2015; JAN: Long et al., ICML 2017, both as thuml/Transfer-Learning-Library
computes them (tllib/alignment/dan.py, jan.py). tllib adds the constant 2 / (n - 1), which has no
gradient and is left out here. CAN's repository: discrepancy/mmd.py and jmmd.py.
"""

import jax
import jax.numpy as jnp

from dajax.losses.kernels import distances_within, multi_kernel

STATISTICS = ("linear", "quadratic")
# of the five kernels: 2 ** k, k = -3 .. 1 (tllib, examples dan.py and jan.py)
ALPHAS = (0.125, 0.25, 0.5, 1.0, 2.0)
_VARIANCE_FLOOR = 1e-12  # identical rows have no spread, and a kernel of 1 whatever it is


def gaussian_kernels(source, target, source_mask, target_mask, *, alphas):
    """sum_alpha exp(-d / (2 alpha s)), s the mean of d over all pairs of valid rows, the diagonal
    included, without a gradient.

    Args:
      source: float32 [n_s, d]; target: float32 [n_t, d]; masks bool [n_s], [n_t].
      alphas: bandwidths as multiples of s.

    Returns:
      float32 [n_s + n_t, n_s + n_t], of the source's rows followed by the target's.
    """
    distances, valid = _pairs(source, target, source_mask, target_mask)
    spread = jnp.where(valid, distances, 0.0).sum() / jnp.maximum(valid.sum(dtype=jnp.float32), 1.0)
    spread = jnp.maximum(jax.lax.stop_gradient(spread), _VARIANCE_FLOOR)
    return sum(jnp.exp(-distances / (2.0 * alpha * spread)) for alpha in alphas)


def fixed_kernel(source, target, *, sigma):
    """exp(-d / (2 sigma^2)) of one bandwidth, JAN's of the class probabilities. Shapes as
    `gaussian_kernels`.
    """
    rows = jnp.concatenate([source, target])
    return jnp.exp(-distances_within(rows) / (2.0 * sigma**2))


def discrepancy(kernel, source_mask, target_mask, *, statistic):
    """MMD^2 of one kernel matrix.

    Args:
      kernel: float32 [n_s + n_t, n_s + n_t].
      source_mask, target_mask: bool [n_s], [n_t], rows that count.
      statistic: "quadratic", all pairs, unbiased within a domain: mean_{i != j} K_ss + mean_{i !=
        j} K_tt - 2 mean K_st. "linear", neighbours in
        the batch only: mean_i K(s_i, s_i+1) + K(t_i, t_i+1) - K(s_i, t_i+1) - K(s_i+1, t_i),
        indices modulo n; n_s = n_t.

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
    source_layers, target_layers, source_mask, target_mask, *, kernel_num, kernel_mul, joint
):
    """The baselines of CAN's repository: biased means, its bandwidths and clips, over several
    layers.

    Args:
      source_layers, target_layers: per layer float32 [n, d]; masks bool [n].
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
        # The mean off the diagonal, where it is 0.
        spread = jax.lax.stop_gradient(
            jnp.where(valid, distances, 0.0).sum() / jnp.maximum(count * (count - 1.0), 1.0)
        )
        kernels.append(multi_kernel(distances, spread, num=num, mul=mul))
    kernel = sum(kernels)
    if joint:
        kernel = kernels[0]
        for other in kernels[1:]:
            kernel = kernel * other
    signs = jnp.concatenate([_shares(source_mask), -_shares(target_mask)])
    value = (kernel * signs[:, None] * signs[None, :]).sum()
    return jnp.where(source_mask.any() & target_mask.any(), value, 0.0)


def _shares(mask):
    """1 / n for each of n valid rows, 0 for the others."""
    weights = mask.astype(jnp.float32)
    return weights / jnp.maximum(weights.sum(), 1.0)


def _pairs(source, target, source_mask, target_mask):
    """Squared distances between all rows of both domains, and which pairs are of valid rows: [n_s +
    n_t, n_s + n_t], float32 and bool.
    """
    rows, mask = jnp.concatenate([source, target]), jnp.concatenate([source_mask, target_mask])
    return distances_within(rows), mask[:, None] & mask[None, :]
