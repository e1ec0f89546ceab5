"""Deep CORAL: how far the covariances of two domains are apart."""

import jax.numpy as jnp

from dajax.typing import Array, Bool, Float


def covariance_difference(
    source: Float[Array, "n_s d"],
    target: Float[Array, "n_t d"],
    source_mask: Bool[Array, " n_s"],
    target_mask: Bool[Array, " n_t"],
) -> Float[Array, ""]:
    """|C_s - C_t|_F^2 / (4 d^2) of the covariances of both batches (Deep CORAL, eq. 1 to 3).

    Args:
      source: float32 [n_s, d]; target: float32 [n_t, d]; masks bool [n_s], [n_t], rows that count.

    Returns:
      float32 scalar; 0 where a domain has fewer than two rows.
    """
    difference = covariance(source, source_mask) - covariance(target, target_mask)
    enough = (source_mask.sum() > 1) & (target_mask.sum() > 1)
    return jnp.where(enough, jnp.square(difference).sum() / (4.0 * source.shape[1] ** 2), 0.0)


def covariance(rows: Float[Array, "n d"], mask: Bool[Array, " n"]) -> Float[Array, "d d"]:
    """float32 [d, d], unbiased, of the rows [n, d] that the mask [n] keeps."""
    weights = mask.astype(rows.dtype)[:, None]
    count = weights.sum()
    centered = (rows - (weights * rows).sum(0, keepdims=True) / jnp.maximum(count, 1.0)) * weights
    return centered.T @ centered / jnp.maximum(count - 1.0, 1.0)
