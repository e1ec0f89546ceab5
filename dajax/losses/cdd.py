"""Contrastive Domain Discrepancy: pull the two domains together within a class, push them apart
between classes.

CAN (Kang et al., CVPR 2019), eq. (3)-(5); discrepancy/cdd.py of the authors' code at 39acc51.
Before their commit a397105 that file shared one row of bandwidths between all classes; here is the
corrected form.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dajax.losses.kernels import multi_kernel, squared_distances
from dajax.typing import Array, Bool, Float


class CDD(NamedTuple):
    """float32 scalars; total = intra - inter, or intra alone."""

    total: Float[Array, ""]
    intra: Float[Array, ""]
    inter: Float[Array, ""]


def _masked_mean_2d(values, left, right):
    """Mean over the last two axes of `values` [..., n, m] where left [..., n] and right [..., m]; 0
    where there is none.
    """
    weights = (left[..., :, None] & right[..., None, :]).astype(values.dtype)
    return (values * weights).sum((-2, -1)) / jnp.maximum(weights.sum((-2, -1)), 1.0)


def _pair_discrepancies(source, target, source_mask, target_mask, num, mul):
    """D_ab of one layer for every source class a and target class b: float32 [C, C]."""
    classes, n_source, dim = source.shape
    n_target = target.shape[1]
    d_ss = squared_distances(source, source)  # [C, n_s, n_s]
    d_tt = squared_distances(target, target)  # [C, n_t, n_t]
    d_st = squared_distances(source.reshape(-1, dim), target.reshape(-1, dim))  # [C*n_s, C*n_t]
    # [C, C, n_s, n_t]
    d_st = d_st.reshape(classes, n_source, classes, n_target).transpose(0, 2, 1, 3)

    def masked_sum(distances, left, right):
        return jnp.where(left[..., :, None] & right[..., None, :], distances, 0.0).sum((-2, -1))

    mask_s, mask_t = source_mask[:, None, :], target_mask[None, :, :]  # [C, 1, n_s], [1, C, n_t]
    # [C, C]
    count = (
        source_mask.sum(1, dtype=jnp.float32)[:, None]
        + target_mask.sum(1, dtype=jnp.float32)[None, :]
    )
    spread = (
        masked_sum(d_ss, source_mask, source_mask)[:, None]
        + masked_sum(d_tt, target_mask, target_mask)[None, :]
        + 2.0 * masked_sum(d_st, mask_s, mask_t)
    )
    # The mean over the n (n - 1) ordered pairs off the diagonal; a constant for the gradient
    # (`.item()` in the authors' code).
    # [C, C, 1, 1]
    bandwidth = jax.lax.stop_gradient(spread / jnp.maximum(count * (count - 1.0), 1.0))[
        :, :, None, None
    ]

    def mean_kernel(distances, left, right):
        return _masked_mean_2d(multi_kernel(distances, bandwidth, num=num, mul=mul), left, right)

    return (
        mean_kernel(d_ss[:, None], mask_s, mask_s)
        + mean_kernel(d_tt[None, :], mask_t, mask_t)
        - 2.0 * mean_kernel(d_st, mask_s, mask_t)
    )


def discrepancy_matrix(
    source_layers: Sequence[Float[Array, "C n_s _"]],
    target_layers: Sequence[Float[Array, "C n_t _"]],
    source_mask: Bool[Array, "C n_s"],
    target_mask: Bool[Array, "C n_t"],
    *,
    kernel_num: Sequence[int],
    kernel_mul: Sequence[float],
) -> Float[Array, "C C"]:
    """D_ab summed over layers, 0 where class a has no source row or class b no target row.
    Arguments as `cdd`; float32 [C, C].
    """
    present = source_mask.any(1)[:, None] & target_mask.any(1)[None, :]
    layers = zip(source_layers, target_layers, kernel_num, kernel_mul, strict=True)
    matrix = sum(
        _pair_discrepancies(s, t, source_mask, target_mask, num, mul) for s, t, num, mul in layers
    )
    return jnp.where(present, matrix, 0.0)


def cdd(
    source_layers: Sequence[Float[Array, "C n_s _"]],
    target_layers: Sequence[Float[Array, "C n_t _"]],
    source_mask: Bool[Array, "C n_s"],
    target_mask: Bool[Array, "C n_t"],
    *,
    num_classes: int,
    kernel_num: Sequence[int],
    kernel_mul: Sequence[float],
    intra_only: bool = False,
) -> CDD:
    """Contrastive domain discrepancy of one class-aware batch.

    Args:
      source_layers: per layer float32 [C, n_s, d]: C class blocks of up to n_s rows.
      target_layers: per layer float32 [C, n_t, d], the same classes in the same order (by
        pseudo-label).
      source_mask: bool [C, n_s], rows that exist. A class without rows takes no part.
      target_mask: bool [C, n_t].
      num_classes: M, the number of classes of the DATA SET, not of the batch: the normalisers are M
        and M (M - 1), so a batch of few classes weighs less and the inter term least of all.
      kernel_num: per layer, number of Gaussian kernels (5 in every config of the authors).
      kernel_mul: per layer, ratio of neighbouring bandwidths (2).
      intra_only: leave the inter term out (the paper's ablation); forced where num_classes is 1.

    Returns:
      CDD. Finite, with finite gradients, for absent classes, an empty batch and identical features.
    """
    matrix = discrepancy_matrix(
        source_layers,
        target_layers,
        source_mask,
        target_mask,
        kernel_num=kernel_num,
        kernel_mul=kernel_mul,
    )
    trace = jnp.trace(matrix)
    intra = trace / num_classes
    if num_classes == 1 or intra_only:
        return CDD(total=intra, intra=intra, inter=jnp.zeros_like(intra))
    inter = (matrix.sum() - trace) / (num_classes * (num_classes - 1))
    return CDD(total=intra - inter, intra=intra, inter=inter)
