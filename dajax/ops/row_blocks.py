"""The softmax of every row of a similarity matrix that is never stored: the matrix is formed in
blocks of rows, and four numbers a row are kept.

PLCA's association and aggregation share it. A block holds whole rows, so the maximum, the deviation
and the sum of a row are plain reductions, and memory grows with block_rows * L instead of L * L.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dajax.ops.similarity import STD_FLOOR, deviation, first_argmax, product, similarity
from dajax.typing import Array, Float, Int, PyTree

# A sixteenth of PLCA's 92 x 92 grid. Measured on a CPU: half as many rows are 4 % slower with 2048
# channels; twice as many are a quarter slower with 19, where the block no longer fits the cache.
BLOCK_ROWS = 529
# Matrices with more entries are not stored. Measured on a CPU with 2048 channels: storing is a
# quarter faster at 44 x 44 pixels; at 92 x 92 it takes 1.6 times the time and 5 times the memory
# (benchmarks/association.py).
DENSE_MAX_ENTRIES = 4000 * 4000
IMPLEMENTATIONS = ("auto", "dense", "blocked")


class RowSoftmax(NamedTuple):
    """The constants of p_ij = exp((s_ij - peak_i) * scale_i) / total_i, and where each row is
    largest.

    Attributes:
      peak: float32 [L1], the largest similarity of the row. (With its mean instead the exponential
        would overflow: (s - mean) / std reaches 92.)
      scale: float32 [L1], 1 / deviation with contrast normalisation, else 1.
      log_total: float32 [L1]; -log_total is the log-probability of the row's largest entry.
      index: int32 [L1], the column of that entry; the first one wins ties.
    """

    peak: Float[Array, " L1"]
    scale: Float[Array, " L1"]
    log_total: Float[Array, " L1"]
    index: Int[Array, " L1"]


def uses_blocks(implementation: str, rows: int, columns: int) -> bool:
    """Whether a [rows, columns] matrix is to be worked on in blocks.

    Raises:
      ValueError: unknown implementation.
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"unknown implementation '{implementation}'; known: {', '.join(IMPLEMENTATIONS)}"
        )
    return implementation == "blocked" or (
        implementation == "auto" and rows * columns > DENSE_MAX_ENTRIES
    )


def fold_blocks(visit: Callable, init: Any, length: int, block_rows: int) -> Any:
    """Folds carry = visit(carry, start, fresh) over blocks of rows start .. start + len(fresh).

    Blocks have equal size, at most block_rows. The last one begins earlier so that it fits: nothing
    is padded or copied. `fresh`, bool [rows of a block], is False for rows of an earlier block.
    """
    blocks = -(-length // block_rows)
    size = -(-length // blocks)

    def body(i, carry):
        start = jnp.minimum(i * size, length - size)
        return visit(carry, start, start + jnp.arange(size) >= i * size)

    return jax.lax.fori_loop(0, blocks, body, init)


def take_rows(tree: PyTree[Array], start: int | Int[Array, ""], size: int) -> PyTree[Array]:
    """Rows start .. start + size of every leaf [L, ...]."""
    return jax.tree.map(lambda whole: jax.lax.dynamic_slice_in_dim(whole, start, size), tree)


def put_rows(
    tree: PyTree[Array], parts: PyTree[Array], start: int | Int[Array, ""]
) -> PyTree[Array]:
    """Every leaf [L, ...] with rows from `start` replaced by those of `parts`."""
    return jax.tree.map(
        lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0), tree, parts
    )


def block_softmax(
    query: Float[Array, "B C"],
    key: Float[Array, "L C"],
    key_mean: Float[Array, " C"],
    contrast: bool,
) -> tuple[RowSoftmax, Float[Array, "B L"]]:
    """One block: query [B, C], key [L, C] and its mean [C] -> the RowSoftmax of the B rows, and
    exp((s - peak) * scale), [B, L].
    """
    matrix = similarity(query, key)
    peak = matrix.max(1)
    scale = jnp.ones_like(peak)
    if contrast:
        scale = 1.0 / (deviation(matrix, product(query, key_mean, 1, 0)) + STD_FLOOR)
    weights = jnp.exp((matrix - peak[:, None]) * scale[:, None])
    return RowSoftmax(peak, scale, jnp.log(weights.sum(1)), first_argmax(matrix, peak)), weights


def empty_softmax(length: int, dtype: Any) -> RowSoftmax:
    """A RowSoftmax of zeros to be filled block by block."""
    zeros = jnp.zeros((length,), dtype)
    return RowSoftmax(zeros, zeros, zeros, jnp.zeros((length,), jnp.int32))


def probabilities(
    matrix: Float[Array, "A B"], softmax: RowSoftmax, axis: int
) -> Float[Array, "A B"]:
    """p of a block of similarities [A, B], formed again from the RowSoftmax of its rows (axis 0) or
    of its columns (axis 1).

    The minimum acts only where rounding lifts an entry above the maximum of its row: another block
    may sum in another order, and the scale is up to 1e10 where all pixels are alike.
    """
    peak, scale, log_total = (jnp.expand_dims(x, 1 - axis) for x in softmax[:3])
    return jnp.exp(jnp.minimum(matrix - peak, 0.0) * scale - log_total)
