"""Similarity of associated pixels, without contrast to all others: Sim-PLCA, a row of PLCA's Table
1 (Kang et al., NeurIPS 2020).

The authors' code has no Sim-PLCA and the paper names it in a sentence, so this is a reading: the
pixels that a cycle joins are drawn together, D(source, target) + D(target, end) in the metric of
the level, and nothing is pushed apart.
"""

import jax.numpy as jnp

from dajax.losses.association import Association
from dajax.ops.similarity import as_float, check_metric, factors, pixels
from dajax.typing import Array, Float


def pair_similarity(
    source: Float[Array, "N h w C"],
    target: Float[Array, "N h2 w2 C"],
    association: Association,
    *,
    metric: str,
) -> Float[Array, "N h*w"]:
    """Sum of the two similarities along every cycle.

    Args:
      source: float [N, h, w, C]; target: float [N, h2, w2, C], as given to `cycle_association`.
      association: its result; the indices are constants.
      metric: "cosine", from -2 to 2; or "negative_kl" of probabilities, at most 0.

    Returns:
      float32 [N, h*w], for every source pixel.
    """
    check_metric(metric)
    start, target = as_float(pixels(source)), as_float(pixels(target))  # [N, L1, C], [N, L2, C]
    middle = jnp.take_along_axis(target, association.target_index[..., None], 1)
    end = jnp.take_along_axis(start, association.end_index[..., None], 1)
    return _similarity(start, middle, metric) + _similarity(middle, end, metric)


def _similarity(a, b, metric):
    """Row by row: [N, L, C] twice -> [N, L]."""
    query, own_key = factors(a, metric)
    similarity = (query * factors(b, metric)[1]).sum(-1)
    # The product lacks the entropy of a: a constant along a row of a matrix, but not between pairs.
    if metric == "negative_kl":
        similarity = similarity - (query * own_key).sum(-1)
    return similarity
