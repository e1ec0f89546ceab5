"""Cosine k-means of target features, started from the source class centres, and the matching of
clusters to classes.

CAN's solver/clustering.py, with three differences, each on purpose. The number of updates is
capped: the authors' loop never ends when a class has no source image. Centres of norm zero do not
count in the mean move. Matched centres are put into class order by the inverse permutation: the
authors' `centers[cluster2label]` applies the permutation itself, which is right only where it is
its own inverse (tests/golden/README.md, can_kmeans, perm_cycle).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from dajax.typing import AnyArray, Array, Float, Int

_NORM_FLOOR = 1e-12  # torch.nn.functional.normalize


class KMeans(NamedTuple):
    """Result of `cosine_kmeans`, on the device.

    Attributes:
      labels: int32 [N], index of the nearest FINAL centre; the first one wins ties.
      distances: float32 [N], cosine distance to that centre, in [0, 1].
      centers: float32 [C, D], sums of features, not normalised.
      num_updates: int32 scalar, centre updates done.
      moves: float32 [max_updates], mean centre move after each update; NaN where none was done.
    """

    labels: Int[Array, " N"]
    distances: Float[Array, " N"]
    centers: Float[Array, "C D"]
    num_updates: Int[Array, ""]
    moves: Float[Array, " max_updates"]


def normalize(x: Float[AnyArray, "*rows D"]) -> Float[Array, "*rows D"]:
    """Rows of float32 [..., D] scaled to length 1; a zero row stays zero, with zero gradient."""
    square = jnp.square(x).sum(-1, keepdims=True)
    positive = square > _NORM_FLOOR**2
    return jnp.where(positive, x * jax.lax.rsqrt(jnp.where(positive, square, 1.0)), 0.0)


def cosine_distances(x: Float[Array, "N D"], centers: Float[Array, "C D"]) -> Float[Array, "N C"]:
    """0.5 (1 - cos) between rows: x [N, D], centers [C, D] -> float32 [N, C] in [0, 1]. A zero row
    has distance 0.5 to every row.
    """
    return 0.5 * (1.0 - jnp.dot(normalize(x), normalize(centers).T, precision="highest"))


def paired_cosine_distances(
    a: Float[AnyArray, "C D"], b: Float[AnyArray, "C D"]
) -> Float[Array, " C"]:
    """0.5 (1 - cos) between row i of a and row i of b: [C, D], [C, D] -> float32 [C]."""
    return 0.5 * (1.0 - (normalize(a) * normalize(b)).sum(-1))


def mean_center_move(a: Float[AnyArray, "C D"], b: Float[AnyArray, "C D"]) -> Float[Array, ""]:
    """Mean of `paired_cosine_distances` over the rows where neither centre is zero (an absent class
    does not move).
    """
    present = a.any(-1) & b.any(-1)
    return jnp.where(present, paired_cosine_distances(a, b), 0.0).sum() / jnp.maximum(
        present.sum(dtype=jnp.float32), 1.0
    )


def class_sums(
    features: Float[Array, "N D"], labels: Int[Array, " N"], num_classes: int
) -> Float[Array, "K D"]:
    """Sum of features per class: float32 [N, D], int32 [N] (-1: of no class) -> float32 [K, D]."""

    def product(features, labels):
        # [N, K]; a row of zeros for -1
        members = jax.nn.one_hot(labels, num_classes, dtype=features.dtype)
        return jnp.dot(members.T, features, precision="highest")

    def scatter(features, labels):
        return jax.ops.segment_sum(features, labels, num_classes)  # drops -1

    # On a CPU the scatter is a plain loop over rows, up to 20 times faster than the product. On an
    # accelerator it adds in no fixed order.
    return jax.lax.platform_dependent(features, labels, cpu=scatter, default=product)


def nearest_centers(
    rows: Float[Array, "N D"], unit_centers: Float[Array, "C D"]
) -> tuple[Int[Array, " N"], Float[Array, " N"]]:
    """The most similar centre of each row: rows [N, D] of any norm, normalised centres [C, D] ->
    int32 [N], float32 [N].

    The second array is the dot product with that centre: the cosine times the norm of the row. The
    norm does not change which centre is nearest.
    """
    return largest(jnp.dot(rows, unit_centers.T, precision="highest"))


def largest(scores: Float[Array, "N C"]) -> tuple[Int[Array, " N"], Float[Array, " N"]]:
    """Where each row of float32 [N, C] is largest (the first of equals), and its largest value:
    int32 [N], float32 [N].
    """
    best = scores.max(axis=1)
    # argmin and argmax are scalar loops on a CPU; two plain reductions take half the time and keep
    # "the first wins ties".
    index = jnp.arange(scores.shape[1], dtype=jnp.int32)[None]
    return jnp.where(scores == best[:, None], index, scores.shape[1] - 1).min(axis=1), best


def over_chunks(features: Float[Array, "N D"], chunk_size: int, visit: Callable, init: Any) -> Any:
    """Folds visit(carry, rows, start, fresh) over slices [chunk, D] without copying `features`.

    The last slice begins earlier so that it fits. `fresh`, bool [chunk], is False for rows of an
    earlier slice.
    """
    count = features.shape[0]
    chunk = min(chunk_size, count)

    def body(i, carry):
        start = jnp.minimum(i * chunk, count - chunk)
        rows = jax.lax.dynamic_slice_in_dim(features, start, chunk)
        return visit(carry, rows, start, start + jnp.arange(chunk) >= i * chunk)

    return jax.lax.fori_loop(0, -(-count // chunk), body, init)


@functools.partial(jax.jit, static_argnames=("max_updates", "chunk_size"))
def cosine_kmeans(
    features: Float[Array, "N D"],
    init_centers: Float[Array, "C D"],
    *,
    eps: float | Float[Array, ""],
    max_updates: int,
    chunk_size: int = 1024,
) -> KMeans:
    """k-means under the cosine distance, one cluster per class, until the mean centre move is below
    eps.

    An empty cluster returns to its initial centre. Labels and distances are against the final
    centres.

    Args:
      features: float32 [N, D]. As they are, a centre is a sum weighted by norm, as in the authors'
        code. For the paper's spherical k-means, normalise them, and the source features that
        init_centers are made of.
      init_centers: float32 [C, D], the source class centres.
      eps: stop once the mean over classes of 0.5 (1 - cos(new centre, old centre)) is below it.
      max_updates: cap on centre updates.
      chunk_size: rows at a time; bounds the memory at chunk_size x C, and changes the result by
        rounding only.

    Returns:
      KMeans.
    """
    num_classes = init_centers.shape[0]

    def update(centers):
        unit_centers = normalize(centers)

        def visit(carry, rows, _, fresh):
            sums, counts = carry
            labels = jnp.where(fresh, nearest_centers(rows, unit_centers)[0], -1)
            return sums + class_sums(rows, labels, num_classes), counts + jax.ops.segment_sum(
                jnp.ones_like(labels), labels, num_classes
            )

        zeros = jnp.zeros_like(init_centers), jnp.zeros((num_classes,), jnp.int32)
        sums, counts = over_chunks(features, chunk_size, visit, zeros)
        return jnp.where(counts[:, None] > 0, sums, init_centers)

    def keep_going(carry):
        _, count, moves = carry
        return (count < max_updates) & ((count == 0) | ~(moves[jnp.maximum(count - 1, 0)] < eps))

    def step(carry):
        centers, count, moves = carry
        new_centers = update(centers)
        return new_centers, count + 1, moves.at[count].set(mean_center_move(new_centers, centers))

    start = (
        init_centers,
        jnp.zeros((), jnp.int32),
        jnp.full((max_updates,), jnp.nan, features.dtype),
    )
    centers, num_updates, moves = jax.lax.while_loop(keep_going, step, start)

    unit_centers = normalize(centers)

    def final(carry, rows, start, _):
        labels, scores = nearest_centers(rows, unit_centers)
        norms = jnp.sqrt(jnp.square(rows).sum(-1))
        distances = 0.5 * (
            1.0 - jnp.where(norms > _NORM_FLOOR, scores / jnp.maximum(norms, _NORM_FLOOR), 0.0)
        )
        return tuple(
            jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0)
            for whole, part in zip(carry, (labels, distances), strict=True)
        )

    count = features.shape[0]
    empty = jnp.zeros((count,), jnp.int32), jnp.zeros((count,), features.dtype)
    labels, distances = over_chunks(features, chunk_size, final, empty)
    return KMeans(
        labels=labels, distances=distances, centers=centers, num_updates=num_updates, moves=moves
    )


def match_clusters(
    centers: Float[AnyArray, "C D"], class_centers: Float[AnyArray, "C D"]
) -> Int[np.ndarray, " C"]:
    """The one-to-one assignment of clusters to classes with the least total cosine distance
    (Hungarian method, on the host).

    Args:
      centers: [C, D] cluster centres.
      class_centers: [C, D] source class centres.

    Returns:
      int32 [C], cluster -> class.
    """
    cost = np.asarray(cosine_distances(jnp.asarray(centers), jnp.asarray(class_centers)))
    return scipy.optimize.linear_sum_assignment(cost)[1].astype(np.int32)
