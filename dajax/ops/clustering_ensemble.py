"""Several clusterings of the same images as one: MSCAN's ensemble over its sources.

The abstract of the journal paper names a clustering ensemble and nothing says how it combines; both rules here are ours (spec/can.md, section 13).
"""

import functools

import jax
import jax.numpy as jnp

from dajax.ops.clustering import cosine_distances, over_chunks

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

    def visit(carry, rows, start, _):
        shape = len(rows), centers.shape[1]

        def add(sums, own):
            distances = cosine_distances(rows, own)  # [chunk, K]
            nearest = jax.nn.one_hot(distances.argmin(-1), shape[1])
            return (sums[0] + distances, sums[1] + nearest), None

        (distances, votes), _ = jax.lax.scan(add, (jnp.zeros(shape), jnp.zeros(shape)), centers)
        distances = distances / len(centers)
        # A vote outweighs any distance, which is at most 1.
        score = distances if rule == "mean" else distances - 2.0 * votes
        labels = score.argmin(-1).astype(jnp.int32)
        parts = labels, jnp.take_along_axis(distances, labels[:, None], axis=1)[:, 0]
        return tuple(jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0) for whole, part in zip(carry, parts))

    count = features.shape[0]
    empty = jnp.zeros((count,), jnp.int32), jnp.zeros((count,), features.dtype)
    return over_chunks(features, chunk_size, visit, empty)
