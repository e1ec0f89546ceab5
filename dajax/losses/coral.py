"""Deep CORAL (Sun and Saenko, ECCV Workshops 2016): the squared distance between the covariances of
source and target. Every constant is of the paper's equations 1 to 3.
"""

import jax.numpy as jnp

from dajax.typing import Array, Bool, Float


def covariance_difference(
    source: Float[Array, "n_s d"],
    target: Float[Array, "n_t d"],
    source_mask: Bool[Array, " n_s"],
    target_mask: Bool[Array, " n_t"],
) -> Float[Array, ""]:
    """|C_s - C_t|_F^2 / (4 d^2), equation 1.

    Args:
      source: float32 [n_s, d]; target: float32 [n_t, d].
      source_mask, target_mask: bool [n_s], [n_t], rows that count.

    Returns:
      float32 scalar; 0, without a gradient, where a domain has fewer than two rows.
    """
    difference = covariance(source, source_mask) - covariance(target, target_mask)
    enough = (source_mask.sum() > 1) & (target_mask.sum() > 1)
    return jnp.where(enough, jnp.square(difference).sum() / (4.0 * source.shape[1] ** 2), 0.0)


def covariance(rows: Float[Array, "n d"], mask: Bool[Array, " n"]) -> Float[Array, "d d"]:
    """C = (X - mean X)^T (X - mean X) / (n - 1), equations 2 and 3, which have the same without the
    brackets: that form loses digits where the mean is large beside the spread.

    Args:
      rows: float32 [n, d], X; what stands in rows that do not count does not matter.
      mask: bool [n], rows that count.

    Returns:
      float32 [d, d]; zeros where fewer than two rows count.
    """
    counts, count = mask[:, None], mask.sum(dtype=jnp.float32)
    mean = jnp.where(counts, rows, 0.0).sum(0, keepdims=True) / jnp.maximum(count, 1.0)
    centered = jnp.where(counts, rows - mean, 0.0)
    return centered.T @ centered / jnp.maximum(count - 1.0, 1.0)
