"""What kernel two-sample losses (CDD, MMD) share: squared distances and the multi-bandwidth kernel."""

import jax.numpy as jnp

# discrepancy/cdd.py: the exponent d / bandwidth is clipped to this range, with zero gradient outside of it, and a bandwidth never
# falls below the lower end. The lower clip is what silences the gradient of the diagonal, where d = 0.
CLIP = (1e-5, 1e5)


def squared_distances(x, y):
    """Squared Euclidean distances between the rows of x and y.

    Explicit differences, not |x|^2 + |y|^2 - 2xy: that form leaves rounding noise on the diagonal, the clip at 1e-5 no longer
    silences it, and its gradient explodes between identical features.

    Args:
      x: float32 [..., n, d].
      y: float32 [..., m, d], the same leading axes.

    Returns:
      float32 [..., n, m].
    """
    return jnp.square(x[..., :, None, :] - y[..., None, :, :]).sum(-1)


def multi_kernel(distances, bandwidth, *, num, mul):
    """sum_u exp(-clip(d / bandwidth_u)), bandwidth_u = bandwidth / mul^(num // 2) * mul^u, u = 0 .. num - 1.

    Args:
      distances: float32, broadcastable against bandwidth.
      bandwidth: float32; pass it through stop_gradient first.
      num: number of kernels; the sum is not divided by it.
      mul: ratio of neighbouring bandwidths.
    """
    value = jnp.zeros(jnp.broadcast_shapes(distances.shape, bandwidth.shape), distances.dtype)
    for u in range(num):
        scaled = jnp.maximum(bandwidth * (float(mul) ** (u - num // 2)), CLIP[0])
        value = value + jnp.exp(-jnp.clip(distances / scaled, *CLIP))
    return value
