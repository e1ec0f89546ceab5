"""Several clusterings of the same images as one: MSCAN's ensemble over its sources.

The abstract of the journal paper names a clustering ensemble and nothing says how it combines; both rules here are ours (spec/can.md, section 13).
"""

import functools

import jax
import jax.numpy as jnp

from dajax.ops.clustering import largest, nearest_centers, normalize, over_chunks

RULES = ("mean", "vote")


@functools.partial(jax.jit, static_argnames=("rule", "chunk_size"))
def ensemble_labels(features, centers, *, rule, chunk_size):
    """The class of each row from the centres of several clusterings.

    Args:
      features: float32 [N, D].
      centers: float32 [E, K, D], row k of each clustering stands for class k.
      rule: "mean": the least distance 0.5 (1 - cos), averaged over the clusterings. "vote": the class that most of them put nearest, the
        averaged distance deciding between equals.
      chunk_size: rows at a time; bounds the memory at chunk_size x K and never holds N x K.

    Returns:
      int32 [N] classes, the first of equals; float32 [N] averaged distances to them.

    Raises:
      ValueError: unknown rule.
    """
    if rule not in RULES:
        raise ValueError(f"unknown clustering ensemble '{rule}'; known: {', '.join(RULES)}")

    unit_centers = normalize(centers)  # [E, K, D]
    mean_centers = unit_centers.mean(0)  # a row's product with it is the mean of its E products, at the price of one

    def visit(carry, rows, start, _):
        unit_rows = normalize(rows)
        if rule == "mean":
            labels, similarities = nearest_centers(unit_rows, mean_centers)
        else:
            labels, similarities = vote(unit_rows)
        parts = labels, 0.5 * (1.0 - similarities)
        return tuple(jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0) for whole, part in zip(carry, parts))

    def vote(unit_rows):
        def add(sums, own):
            similarities = jnp.dot(unit_rows, own.T, precision="highest")  # [chunk, K]
            votes = jax.nn.one_hot(largest(similarities)[0], own.shape[0])
            return (sums[0] + similarities, sums[1] + votes), None

        zeros = jnp.zeros((len(unit_rows), centers.shape[1]))
        (similarities, votes), _ = jax.lax.scan(add, (zeros, zeros), unit_centers)
        similarities = similarities / len(centers)
        labels, _ = largest(similarities + 4.0 * votes)  # a vote outweighs any similarities, which lie in [-1, 1]
        return labels, jnp.take_along_axis(similarities, labels[:, None], axis=1)[:, 0]

    count = features.shape[0]
    empty = jnp.zeros((count,), jnp.int32), jnp.zeros((count,), features.dtype)
    return over_chunks(features, chunk_size, visit, empty)
