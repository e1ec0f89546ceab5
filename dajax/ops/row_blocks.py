"""The softmax of every row of a similarity matrix that is never stored: blocks of rows, of which
only four numbers a row are kept.

What the association and the aggregation of PLCA share. A block holds whole rows, so the maximum,
the deviation and the sum of a row are plain reductions, and memory grows with block_rows * L
instead of L * L.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dajax.ops.similarity import STD_FLOOR, deviation, first_argmax, product, similarity

# A sixteenth of PLCA's 92 x 92 grid. On a CPU half of it is 4 % slower with 2048 channels; twice as
# much, a quarter with 19, where the block no longer fits the cache.
BLOCK_ROWS = 529
# Larger matrices are not stored. Measured on a CPU with 2048 channels: storing is a quarter faster
# at 44 x 44 pixels, and at 92 x 92 it takes 1.6 times the time and 5 times the memory
# (benchmarks/plca_ops.py).
DENSE_MAX_ENTRIES = 4000 * 4000
IMPLEMENTATIONS = ("auto", "dense", "blocked")


class RowSoftmax(NamedTuple):
    """What determines p_ij = exp((s_ij - peak_i) * scale_i) / total_i, and where each row has its
    largest.

    Attributes:
      peak: float32 [L1], the largest similarity of the row. (Its mean would do but for overflow: (s
        - mean) / std reaches 92.)
      scale: float32 [L1], 1 / deviation with contrast normalisation, else 1.
      log_total: float32 [L1]; -log_total is the log-probability of the row's largest entry.
      index: int32 [L1], the column of that entry; the first one wins ties.
    """

    peak: jax.Array
    scale: jax.Array
    log_total: jax.Array
    index: jax.Array


def uses_blocks(implementation, rows, columns):
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


def fold_blocks(visit, init, length, block_rows):
    """carry = visit(carry, start, fresh) over blocks of rows start .. start + len(fresh).

    Blocks are as even as they can be, of at most block_rows. The last one is moved back so that it
    fits: nothing is padded or copied. `fresh` [rows of a block] marks the rows that no earlier
    block has shown.
    """
    blocks = -(-length // block_rows)
    size = -(-length // blocks)

    def body(i, carry):
        start = jnp.minimum(i * size, length - size)
        return visit(carry, start, start + jnp.arange(size) >= i * size)

    return jax.lax.fori_loop(0, blocks, body, init)


def take_rows(tree, start, size):
    """Rows start .. start + size of every leaf [L, ...]."""
    return jax.tree.map(lambda whole: jax.lax.dynamic_slice_in_dim(whole, start, size), tree)


def put_rows(tree, parts, start):
    """Every leaf [L, ...] with rows from `start` replaced by those of `parts`."""
    return jax.tree.map(
        lambda whole, part: jax.lax.dynamic_update_slice_in_dim(whole, part, start, 0), tree, parts
    )


def block_softmax(query, key, key_mean, contrast):
    """One block: query [B, C], key [L, C], its mean [C] -> RowSoftmax of [B], and the [B, L] of
    exp((s - peak) * scale).
    """
    matrix = similarity(query, key)
    peak = matrix.max(1)
    scale = jnp.ones_like(peak)
    if contrast:
        scale = 1.0 / (deviation(matrix, product(query, key_mean, 1, 0)) + STD_FLOOR)
    weights = jnp.exp((matrix - peak[:, None]) * scale[:, None])
    return RowSoftmax(peak, scale, jnp.log(weights.sum(1)), first_argmax(matrix, peak)), weights


def empty_softmax(length, dtype):
    """A RowSoftmax of zeros to be filled block by block."""
    zeros = jnp.zeros((length,), dtype)
    return RowSoftmax(zeros, zeros, zeros, jnp.zeros((length,), jnp.int32))


def probabilities(matrix, softmax, axis):
    """p of a block of similarities [A, B] again, from the RowSoftmax of its rows (axis 0) or of its
    columns (axis 1).

    The minimum only acts where rounding puts an entry above the maximum of its row: another block
    may sum in another order, and the scale is up to 1e10 where all pixels are alike.
    """
    peak, scale, log_total = (jnp.expand_dims(x, 1 - axis) for x in softmax[:3])
    return jnp.exp(jnp.minimum(matrix - peak, 0.0) * scale - log_total)
