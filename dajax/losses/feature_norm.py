"""AFN, adaptive feature norm (Xu et al., ICCV 2019; jihanyang/AFN, d96515b): features of a larger
norm carry over better.
"""

import jax
import jax.numpy as jnp

from dajax.ops.lengths import lengths
from dajax.typing import Array, Bool, Float


def stepwise_norm(
    features: Float[Array, "N D"], mask: Bool[Array, " N"], delta: float
) -> Float[Array, ""]:
    """SAFN: mean_i (|f_i| - sg(|f_i|) - delta)^2. Its value is always delta^2; what counts is the
    gradient, -2 delta f / (|f| n), which enlarges every norm.

    Args:
      features: float32 [N, D], the WHOLE batch (`parallel.gather`) of one domain.
      mask: bool [N], rows that count.
      delta: by how much the norms are to grow.

    Returns:
      float32 scalar; 0 without a gradient where no row counts.
    """
    norms = lengths(jnp.where(mask[:, None], features, 0.0))
    squares = jnp.square(norms - jax.lax.stop_gradient(norms) - delta)
    return jnp.where(mask, squares, 0.0).sum() / jnp.maximum(mask.sum(dtype=jnp.float32), 1.0)


def hard_norm(
    features: Float[Array, "N D"], mask: Bool[Array, " N"], radius: float
) -> Float[Array, ""]:
    """HAFN: (mean_i |f_i| - radius)^2. Arguments as `stepwise_norm`; radius: the norm aimed at."""
    norms = lengths(jnp.where(mask[:, None], features, 0.0))
    mean = norms.sum() / jnp.maximum(mask.sum(dtype=jnp.float32), 1.0)
    return jnp.where(mask.any(), jnp.square(mean - radius), 0.0)
