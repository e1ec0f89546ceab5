"""Spatial aggregation: every pixel moves towards the mean of the similar pixels of its image.

PLCA (Kang et al., NeurIPS 2020), eq. (6)-(8); the authors' code at e01d77a. It is applied to the
target before the association, and to features and then probabilities at test time. It is an
attention whose query, key and value are the same pixels, so the blocked form is flash attention's:
the L x L weights are formed block by block, and once more for the gradient.
"""

import functools

import jax
import jax.numpy as jnp

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
    pixels,
    product,
    similarity,
)
from dajax.typing import Array, Float


def aggregate(
    x: Float[Array, "N h w C"],
    *,
    metric: str,
    alpha: float,
    contrast: bool | None = None,
    implementation: str = "auto",
    block_rows: int = BLOCK_ROWS,
) -> Float[Array, "N h w C"]:
    """(1 - alpha) x + alpha W x; W is the softmax over each row of the similarities within an
    image, the pixel itself included.

    Args:
      x: float [N, h, w, C] features ("cosine") or class probabilities ("negative_kl"; they still
        sum to 1).
      metric: one of `similarity.METRICS`.
      alpha: in [0, 1]; 0.5 in the authors' code.
      contrast: normalise the contrast of the similarities first. None, as the authors' code does:
        for "cosine" only. The paper does it for both metrics.
      implementation: "auto" (by the size of the grid), "dense" or "blocked".
      block_rows: rows of W in memory at a time, for "blocked".

    Returns:
      float32 [N, h, w, C] (float64 where x is). Gradients flow through W and through x. Besides
        the batch, the memory of one image is needed.

    Raises:
      ValueError: wrong number of axes, unknown metric or implementation, alpha outside of [0, 1].
    """
    check_metric(metric)
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha {alpha} is not in [0, 1]")
    contrast = metric == "cosine" if contrast is None else contrast
    flat = pixels(x)  # [N, h*w, C]
    if uses_blocks(implementation, flat.shape[1], flat.shape[1]):
        out = _blocked(flat, metric, float(alpha), contrast, block_rows)
    else:
        out = jax.lax.map(lambda image: _dense(image, metric, alpha, contrast), flat)
    return out.reshape(x.shape)


def _dense(x, metric, alpha, contrast):
    """One image, [L, C]."""
    matrix = similarity(*factors(x, metric))  # [L, L]
    weights = jax.nn.softmax(contrast_normalize(matrix) if contrast else matrix)
    x = as_float(x)
    return (1.0 - alpha) * x + alpha * product(weights, x, 1, 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _blocked(x, metric, alpha, contrast, block_rows):
    """[N, L, C], one image after the other."""
    return _blocked_forward(x, metric, alpha, contrast, block_rows)[0]


def _blocked_forward(x, metric, alpha, contrast, block_rows):
    def one(image):
        query, key = factors(image, metric)
        values, key_mean = as_float(image), key.mean(0)

        def visit(carry, start, fresh):
            rows = take_rows(values, start, fresh.size)
            softmax, weights = block_softmax(
                take_rows(query, start, fresh.size), key, key_mean, contrast
            )
            mean = product(weights, values, 1, 0) * jnp.exp(-softmax.log_total)[:, None]  # [B, C]
            return put_rows(carry, ((1.0 - alpha) * rows + alpha * mean, softmax), start)

        init = jnp.zeros_like(values), empty_softmax(values.shape[0], values.dtype)
        return fold_blocks(visit, init, values.shape[0], block_rows)

    out, softmax = jax.lax.map(one, x)
    return out, (x, softmax)


def _blocked_backward(metric, alpha, contrast, block_rows, saved, cotangent):
    # The factors are formed again: saved, they would be one or two more batches in memory.
    def one(args):
        image, softmax, grad = args
        (query, key), pull = jax.vjp(lambda image: factors(image, metric), image)
        values = as_float(image)

        def visit(carry, start, fresh):
            query_grad, key_grad, value_grad = carry
            rows, rows_softmax, rows_grad = take_rows((query, softmax, grad), start, fresh.size)
            weights = probabilities(similarity(rows, key), rows_softmax, 0)  # [B, L]
            weights_grad = alpha * similarity(rows_grad, values)  # [B, L]
            centred = weights_grad - (weights * weights_grad).sum(1, keepdims=True)
            matrix_grad = rows_softmax.scale[:, None] * weights * centred
            rows, rows_grad = (
                jnp.where(fresh[:, None], part, 0.0) for part in (rows, alpha * rows_grad)
            )
            return (
                put_rows(query_grad, product(matrix_grad, key, 1, 0), start),
                key_grad + product(matrix_grad, rows, 0, 0),
                value_grad + product(weights, rows_grad, 0, 0),
            )

        init = jnp.zeros_like(query), jnp.zeros_like(key), (1.0 - alpha) * grad
        query_grad, key_grad, value_grad = fold_blocks(visit, init, query.shape[0], block_rows)
        return pull((query_grad, key_grad))[0] + value_grad.astype(image.dtype)

    return (jax.lax.map(one, (*saved, cotangent)),)


_blocked.defvjp(_blocked_forward, _blocked_backward)
