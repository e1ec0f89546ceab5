"""M3SDA's moment distance (Peng et al., ICCV 2019, equation 1): between the sources and the target,
and between the sources. The released code has another one, see docs/methods/m3sda.md.
"""

import itertools

import jax.numpy as jnp

from dajax.ops.lengths import lengths
from dajax.typing import Array, Bool, Float


def moment_distance(
    sources: Float[Array, "E n D"],
    target: Float[Array, "n_t D"],
    source_masks: Bool[Array, "E n"],
    target_mask: Bool[Array, " n_t"],
    *,
    orders: int,
) -> Float[Array, ""]:
    """sum_k ( mean_e |m_k(X_e) - m_k(T)| + mean_{e<f} |m_k(X_e) - m_k(X_f)| ), m_k(X) = mean X^k.

    Args:
      sources: float32 [E, n, D]; target: float32 [n_t, D]: the WHOLE batch (`parallel.gather`).
      source_masks: bool [E, n]; target_mask: bool [n_t], rows that count.
      orders: of the moments, 1 to `orders`; 2 in the paper.

    Returns:
      float32 scalar. A pair counts as 0, without a gradient, where one of its domains has no row;
      of one source there are no pairs of sources.
    """
    masks = [*source_masks, target_mask]
    domains = [
        jnp.where(mask[:, None], x, 0.0) for x, mask in zip([*sources, target], masks, strict=True)
    ]
    last = len(sources)
    pairs = list(itertools.combinations(range(last), 2))
    value = jnp.zeros(())
    for order in range(1, orders + 1):
        means = [
            (x**order).sum(0) / jnp.maximum(mask.sum(dtype=jnp.float32), 1.0)
            for x, mask in zip(domains, masks, strict=True)
        ]

        def apart(pair, means=means):
            a, b = pair
            both = masks[a].any() & masks[b].any()
            return jnp.where(both, lengths(means[a] - means[b]), 0.0)

        value += sum(map(apart, ((e, last) for e in range(last)))) / last
        if pairs:
            value += sum(map(apart, pairs)) / len(pairs)
    return value
