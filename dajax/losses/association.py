"""Pixel-level cycle association: a source pixel, the target pixel most similar to it, the source
pixel most similar to that one. Pixels on a cycle that closes are pulled together.

PLCA (Kang et al., NeurIPS 2020), eq. (1)-(5) and (9)-(10); the authors' code at e01d77a. A cycle
counts where it ends on a source pixel of the label it started from. There are two implementations:
"dense" stores the L1 x L2 similarities; "blocked" forms them block by block, once for the value and
once more for the gradient.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dajax.ops.labels import IGNORED
from dajax.ops.row_blocks import (
    BLOCK_ROWS,
    block_softmax,
    empty_softmax,
    fold_blocks,
    probabilities,
    put_rows,
    take_rows,
    uses_blocks,
)
from dajax.ops.similarity import (
    as_float,
    check_metric,
    contrast_normalize,
    factors,
    first_argmax,
    normalize,
    pixels,
    product,
    similarity,
)
from dajax.typing import Array, Bool, Float, Int


class Association(NamedTuple):
    """One entry per source pixel, in row-major order; L1 = h * w.

    Attributes:
      values: float32 [N, L1], -(log p12[i, j*] + log p21[j*, i*]), whether or not the cycle is
        valid.
      mask: bool [N, L1], True where start and end have the same label, and it is not IGNORED.
      target_index: int32 [N, L1], j*(i), the target pixel that pixel i is most similar to.
      end_index: int32 [N, L1], i*(j*(i)), the source pixel where the cycle ends.
    """

    values: Float[Array, "N L1"]
    mask: Bool[Array, "N L1"]
    target_index: Int[Array, "N L1"]
    end_index: Int[Array, "N L1"]


def cycle_association(
    source: Float[Array, "N h w C"],
    target: Float[Array, "N h2 w2 C"],
    labels: Int[Array, "N h w"],
    *,
    metric: str,
    contrast: bool = True,
    implementation: str = "auto",
    block_rows: int = BLOCK_ROWS,
) -> Association:
    """The association of every source image with the target image of the same number in the batch.

    The loss is the mean of `values` where `mask`, over all pixels of the global batch
    (`parallel.masked_mean`), and not the mean of each image's mean. Ignored source pixels start no
    cycle but may end one, and take part in every softmax, mean and deviation. Besides the batch,
    the memory of one pair of images is needed.

    Args:
      source: float [N, h, w, C] features ("cosine") or class probabilities ("negative_kl"), not
        aggregated.
      target: float [N, h2, w2, C], aggregated by `ops.aggregation.aggregate`.
      labels: int [N, h, w], source labels on the grid of `source`; 255 or negative: ignored.
      metric: one of `similarity.METRICS`.
      contrast: normalise the contrast of every row of similarities (the authors' only setting).
      implementation: "auto" (by the size of the grids), "dense" or "blocked".
      block_rows: rows of similarities in memory at a time, for "blocked".

    Returns:
      Association; gradients flow from `values` into source and target, through both softmaxes.
        float64 where the inputs are.

    Raises:
      ValueError: shapes that do not fit together, or an unknown metric or implementation.
    """
    check_metric(metric)
    if labels.shape != source.shape[:3] or target.shape[::3] != source.shape[::3]:
        raise ValueError(
            f"cycle_association: source {source.shape}, target {target.shape} and labels"
            f" {labels.shape} do not fit together"
        )
    # [N, L1, C], [N, L2, C], [N, L1]
    source, target, labels = pixels(source), pixels(target), labels.reshape(labels.shape[0], -1)
    if uses_blocks(implementation, source.shape[1], target.shape[1]):
        matches = _blocked_matches(source, target, metric, contrast, block_rows)
    else:
        matches = jax.lax.map(
            lambda pair: _dense_matches(*pair, metric, contrast), (source, target)
        )
    (log_prob_there, target_index), (log_prob_back, source_index) = matches

    end_index = jnp.take_along_axis(source_index, target_index, 1)
    values = -(log_prob_there + jnp.take_along_axis(log_prob_back, target_index, 1))
    has_label = (labels >= 0) & (labels != IGNORED)
    mask = has_label & (labels == jnp.take_along_axis(labels, end_index, 1))
    return Association(values=values, mask=mask, target_index=target_index, end_index=end_index)


def _dense_matches(source, target, metric, contrast):
    """One pair, [L1, C] and [L2, C]: (log-probability, index) of the best target pixel of every
    source pixel, and the reverse.
    """
    (source_query, source_key), (target_query, target_key) = (
        factors(source, metric),
        factors(target, metric),
    )
    there = similarity(source_query, target_key)  # [L1, L2]
    back = there.T if metric == "cosine" else similarity(target_query, source_key)  # [L2, L1]

    def best(matrix):
        index = jax.lax.stop_gradient(first_argmax(matrix, matrix.max(1)))
        log_probs = jax.nn.log_softmax(contrast_normalize(matrix) if contrast else matrix)
        return jnp.take_along_axis(log_probs, index[:, None], 1)[:, 0], index

    return best(there), best(back)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _blocked_matches(source, target, metric, contrast, block_rows):
    """`_dense_matches` of every pair of [N, L1, C] and [N, L2, C], one after the other."""
    return _blocked_forward(source, target, metric, contrast, block_rows)[0]


def _blocked_forward(source, target, metric, contrast, block_rows):
    def one(pair):
        (source_query, source_key), (target_query, target_key) = (factors(x, metric) for x in pair)
        return (
            _softmax_of_rows(source_query, target_key, contrast, block_rows),
            _softmax_of_rows(target_query, source_key, contrast, block_rows),
        )

    there, back = jax.lax.map(one, (source, target))
    matches = (-there.log_total, there.index), (-back.log_total, back.index)
    return matches, (source, target, there, back)


def _softmax_of_rows(query, key, contrast, block_rows):
    """RowSoftmax of all rows: query [L1, C], key [L2, C]."""
    key_mean = key.mean(0)

    def visit(carry, start, fresh):
        softmax, _ = block_softmax(take_rows(query, start, fresh.size), key, key_mean, contrast)
        return put_rows(carry, softmax, start)

    return fold_blocks(
        visit, empty_softmax(query.shape[0], query.dtype), query.shape[0], block_rows
    )


def _blocked_backward(metric, contrast, block_rows, saved, cotangents):
    # The factors are formed again: saved, they would be two more batches in memory.
    def one(args):
        source, target, there, back, there_cotangent, back_cotangent = args
        there, back = (there, there_cotangent), (back, back_cotangent)
        if metric == "cosine":  # one matrix serves both directions
            (source, pull_source), (target, pull_target) = (
                jax.vjp(lambda x: normalize(as_float(x)), x) for x in (source, target)
            )
            source_grad, target_grad = _factor_gradients(source, target, there, back, block_rows)
            return pull_source(source_grad) + pull_target(target_grad)
        (source, pull_source), (target, pull_target) = (
            jax.vjp(lambda x: factors(x, metric), x) for x in (source, target)
        )
        source_query_grad, target_key_grad = _factor_gradients(
            source[0], target[1], there, None, block_rows
        )
        target_query_grad, source_key_grad = _factor_gradients(
            target[0], source[1], back, None, block_rows
        )
        return pull_source((source_query_grad, source_key_grad)) + pull_target(
            (target_query_grad, target_key_grad)
        )

    (there_cotangent, _), (back_cotangent, _) = cotangents
    return jax.lax.map(one, (*saved, there_cotangent, back_cotangent))


def _factor_gradients(query, key, by_row, by_column, block_rows):
    """Gradients of the picked log-probabilities with respect to query [L1, C] and key [L2, C].

    Args:
      by_row: the RowSoftmax of the rows of query key^T and the cotangent [L1] of the picked
        log-probabilities.
      by_column: the same of the rows of its transpose, [L2]; or None.
    """
    columns = jnp.arange(key.shape[0], dtype=jnp.int32)

    def visit(carry, start, fresh):
        query_grad, key_grad = carry
        rows = take_rows(query, start, fresh.size)
        matrix = similarity(rows, key)
        # [B, L2]
        grad = _picked_gradient(matrix, *take_rows(by_row, start, fresh.size), columns, 0)
        if by_column is not None:
            grad = grad + _picked_gradient(
                matrix, *by_column, (start + jnp.arange(fresh.size)).astype(jnp.int32), 1
            )
        query_grad = put_rows(query_grad, product(grad, key, 1, 0), start)
        return query_grad, key_grad + product(grad, jnp.where(fresh[:, None], rows, 0.0), 0, 0)

    return fold_blocks(
        visit, (jnp.zeros_like(query), jnp.zeros_like(key)), query.shape[0], block_rows
    )


def _picked_gradient(matrix, softmax, cotangent, positions, axis):
    """d (sum of cotangent * log p[index]) / d matrix, p over the rows (axis 0) or over the columns
    (axis 1) of a block [A, B].

    `positions` numbers the entries along which p sums to 1 as `softmax.index` does.
    """
    slope, index = (
        jnp.expand_dims(x, 1 - axis) for x in (cotangent * softmax.scale, softmax.index)
    )
    picked = (jnp.expand_dims(positions, axis) == index).astype(matrix.dtype)
    return slope * (picked - probabilities(matrix, softmax, axis))


_blocked_matches.defvjp(_blocked_forward, _blocked_backward)
