"""Similarity of associated pixels, without contrast to all others: Sim-PLCA, a row of PLCA's Table
1 (Kang et al., NeurIPS 2020).

The authors' code has no Sim-PLCA and the paper names it in a sentence, so this is a reading: the
pixels that a cycle joins are drawn together, D(source, target) + D(target, end) in the metric of
the level, and nothing is pushed apart.
"""

import jax.numpy as jnp

from dajax.ops.similarity import as_float, check_metric, factors, pixels


def pair_similarity(source, target, association, *, metric):
    """Sum of the two similarities along every cycle.

    Args:
      source: float [N, h, w, C]; target: float [N, h', w', C], as given to `cycle_association`.
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
    # the product lacks the entropy, which a whole row of the matrix shares and a single pair does
    # not
    if metric == "negative_kl":
        similarity = similarity - (query * own_key).sum(-1)
    return similarity
