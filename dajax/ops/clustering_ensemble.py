"""Several clusterings of the same images combined into one: MSCAN's ensemble over its sources.

The abstract of CAN's journal paper (TPAMI) names a clustering ensemble, and neither the abstract
nor the slides say how it combines: both rules here are ours.
"""

import functools

import jax
import jax.numpy as jnp

from dajax.ops.clustering import largest, normalize, over_chunks
from dajax.typing import Array, Float, Int

RULES = ("mean", "vote")
_NEVER = -jnp.inf  # the similarity of a class that cannot be: below every cosine


@functools.partial(jax.jit, static_argnames=("rule", "chunk_size"))
def ensemble_labels(
    features: Float[Array, "N D"], centers: Float[Array, "E K D"], *, rule: str, chunk_size: int
) -> tuple[Int[Array, " N"], Float[Array, " N"]]:
    """The class of each row from the centres of several clusterings.

    Distances and votes of a class are averaged over the clusterings whose source has it; the others
    know nothing of the class. No row gets a class that no clustering has.

    Args:
      features: float32 [N, D].
      centers: float32 [E, K, D]. Row k of each clustering stands for class k; it is zero where the
        source has no image of the class.
      rule: "mean": the class with the least averaged distance 0.5 (1 - cos). "vote": each
        clustering votes for its nearest class; a class's score is its votes over the number of
        clusterings that have it. The averaged distance decides between equal scores.
      chunk_size: rows at a time; bounds the memory at chunk_size x K.

    Returns:
      (int32 [N] classes, the first of equals; float32 [N] averaged distances to them).

    Raises:
      ValueError: unknown rule.
    """
    if rule not in RULES:
        raise ValueError(f"unknown clustering ensemble '{rule}'; known: {', '.join(RULES)}")

    has_class = centers.any(-1)  # [E, K]
    count = has_class.sum(0).astype(features.dtype)  # [K]
    unit_centers = normalize(centers)  # [E, K, D]
    # One product with the mean centre is the mean of the products with all centres that exist.
    mean_centers = unit_centers.sum(0) / jnp.maximum(count, 1.0)[:, None]  # [K, D]

    def similarities_to(unit_rows, own_centers, exists):
        similarities = jnp.dot(unit_rows, own_centers.T, precision="highest")  # [chunk, K]
        return jnp.where(exists[None], similarities, _NEVER)

    def visit(carry, rows, start, _):
        unit_rows = normalize(rows)
        averaged = similarities_to(unit_rows, mean_centers, count > 0)
        if rule == "vote":
            shares = votes(unit_rows) / jnp.maximum(count, 1.0)[None]
            averaged = jnp.where(shares == shares.max(1, keepdims=True), averaged, _NEVER)
        labels, similarities = largest(averaged)
        parts = labels, 0.5 * (1.0 - similarities)
        return tuple(
            jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0)
            for whole, part in zip(carry, parts, strict=True)
        )

    def votes(unit_rows):
        def add(sums, own):
            nearest, _ = largest(similarities_to(unit_rows, *own))
            return sums + jax.nn.one_hot(nearest, len(count)), None

        none = jnp.zeros((len(unit_rows), len(count)))  # [chunk, K]
        return jax.lax.scan(add, none, (unit_centers, has_class))[0]

    rows = features.shape[0]
    empty = jnp.zeros((rows,), jnp.int32), jnp.zeros((rows,), features.dtype)
    return over_chunks(features, chunk_size, visit, empty)
