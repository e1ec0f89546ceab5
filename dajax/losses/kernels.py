"""Shared by the kernel losses (CDD, MMD): squared distances, and a kernel of several bandwidths."""

import jax
import jax.numpy as jnp

from dajax.typing import Array, Float

# CAN's discrepancy/cdd.py clips the exponent d / bandwidth to this range, with zero gradient
# outside of it, and keeps every bandwidth at or above the lower end. On the diagonal d = 0: the
# lower clip makes its gradient zero.
CLIP = (1e-5, 1e5)


@jax.custom_vjp
def squared_distances(
    x: Float[Array, "*batch n d"], y: Float[Array, "*batch m d"]
) -> Float[Array, "*batch n m"]:
    """Squared Euclidean distances between the rows of x and y.

    The differences are formed one by one. The shorter |x|^2 + |y|^2 - 2xy leaves rounding noise on
    the diagonal, which the clip at 1e-5 does not remove, and its gradient explodes between
    identical features. The gradient is written out, for reverse mode only: autodiff keeps the
    [..., n, m, d] differences and sums them along both row axes, 15 times slower on a CPU.

    Args:
      x: float32 [..., n, d].
      y: float32 [..., m, d], the same leading axes.

    Returns:
      float32 [..., n, m].
    """
    # The barrier: XLA would fuse the sum over d into each of its users and do it again for each.
    return jax.lax.optimization_barrier(jnp.square(x[..., :, None, :] - y[..., None, :, :]).sum(-1))


def _squared_distances_forward(x, y):
    return squared_distances(x, y), (x, y)


def _weighted_differences(x, y, weights):
    """sum_j w_ij (x_i - y_j): x [..., n, d], y [..., m, d], w [..., n, m] -> [..., n, d]."""

    # One row of y at a time keeps the work in cache. The two-product form, x sum_j w_ij - w y,
    # saves a quarter of CDD's time and loses the digits of near-identical features, whose weights
    # are the largest (up to 1 / CLIP[0]).
    def add(j, total):
        return total + jax.lax.dynamic_index_in_dim(weights, j, -1) * (
            x - jax.lax.dynamic_index_in_dim(y, j, -2)
        )

    return jax.lax.fori_loop(0, y.shape[-2], add, jnp.zeros_like(x), unroll=10)


def _squared_distances_backward(rows, cotangent):
    x, y = rows
    return 2.0 * _weighted_differences(x, y, cotangent), 2.0 * _weighted_differences(
        y, x, jnp.swapaxes(cotangent, -1, -2)
    )


squared_distances.defvjp(_squared_distances_forward, _squared_distances_backward)


@jax.custom_vjp
def distances_within(rows: Float[Array, "n d"]) -> Float[Array, "n n"]:
    """Squared Euclidean distances between all rows of one set, for a kernel with ONE bandwidth of
    their own scale (MMD); reverse mode only.

    They come from one Gram matrix of the rows around their mean. Its rounding is relative to the
    spread of the rows and not to their length: it stays below 1e-6 of the mean distance. In CDD
    each class has a bandwidth, which may be far smaller than the mean distance: use
    `squared_distances` there, which takes three to twelve times as long on a CPU.

    Args:
      rows: float32 [n, d].

    Returns:
      float32 [n, n], 0 on the diagonal.
    """
    return _distances_within_forward(rows)[0]


def _distances_within_forward(rows):
    rows = rows - rows.mean(0, keepdims=True)
    squares = jnp.square(rows).sum(1)
    distances = jnp.maximum(
        squares[:, None] + squares[None, :] - 2.0 * jnp.dot(rows, rows.T, precision="highest"), 0.0
    )
    return jnp.where(jnp.eye(len(rows), dtype=bool), 0.0, distances), rows


def _distances_within_backward(rows, cotangent):
    weights = cotangent + cotangent.T
    return (
        2.0 * (weights.sum(1, keepdims=True) * rows - jnp.dot(weights, rows, precision="highest")),
    )


distances_within.defvjp(_distances_within_forward, _distances_within_backward)


def multi_kernel(
    distances: Float[Array, "..."], bandwidth: Float[Array, "..."], *, num: int, mul: float
) -> Float[Array, "..."]:
    """sum_u exp(-clip(d / bandwidth_u)), bandwidth_u = bandwidth / mul^(num // 2) * mul^u, u = 0 ..
    num - 1.

    Args:
      distances: float32 [...], broadcastable against bandwidth.
      bandwidth: float32 [...]; pass it through stop_gradient first.
      num: number of kernels; the sum is not divided by it.
      mul: ratio of neighbouring bandwidths.

    Returns:
      float32, of the shape that both broadcast to.
    """
    value = jnp.zeros(jnp.broadcast_shapes(distances.shape, bandwidth.shape), distances.dtype)
    for u in range(num):
        scaled = jnp.maximum(bandwidth * (float(mul) ** (u - num // 2)), CLIP[0])
        value = value + jnp.exp(-jnp.clip(distances / scaled, *CLIP))
    return value
