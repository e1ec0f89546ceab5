"""The similarity of two pixels in the two metrics of PLCA, and the contrast normalisation of a
matrix of similarities.

PLCA (Kang et al., NeurIPS 2020), sections 3.2-3.3. Either metric is a product of a query and a key
matrix, so that a caller may form any block of rows at a time. All is computed in float32 at full
matmul precision, or in float64 where the input is: with 7-bit mantissas 1 % of the cycles end
elsewhere, and gradients are off by a tenth.
"""

import jax
import jax.numpy as jnp

from dajax.typing import Array, Float, Int

METRICS = ("cosine", "negative_kl")
_NORM_FLOOR = 1e-12  # torch.nn.functional.normalize
_LOG_FLOOR = 1e-10  # the authors' code, inside every logarithm
STD_FLOOR = 1e-10  # the authors' code, added to the deviation


def check_metric(metric: str) -> None:
    """Raises ValueError for a metric that is not one of METRICS."""
    if metric not in METRICS:
        raise ValueError(f"unknown metric '{metric}'; known: {', '.join(METRICS)}")


def as_float(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """float64 stays, anything narrower becomes float32."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def pixels(x: Float[Array, "N h w C"]) -> Float[Array, "N h*w C"]:
    """[N, h, w, C] -> [N, h*w, C], in row-major order.

    Raises:
      ValueError: any other number of axes.
    """
    if x.ndim != 4:
        raise ValueError(f"expected [N, h, w, C], got shape {x.shape}")
    return x.reshape(x.shape[0], -1, x.shape[-1])  # [N, h*w, C]


def normalize(x: Float[Array, "*rows C"]) -> Float[Array, "*rows C"]:
    """Rows of float [..., C] scaled to length 1; a zero row stays zero, with zero gradient."""
    square = jnp.square(x).sum(-1, keepdims=True)
    positive = square > _NORM_FLOOR**2
    return jnp.where(positive, x * jax.lax.rsqrt(jnp.where(positive, square, 1.0)), 0.0)


def factors(
    x: Float[Array, "*rows C"], metric: str
) -> tuple[Float[Array, "*rows C"], Float[Array, "*rows C"]]:
    """The query and the key of every pixel: the similarity of a to b is query(a) . key(b).

    "cosine": both are the vector scaled to length 1; the similarities of b to a are the transpose
    of those of a to b.

    "negative_kl", of probabilities: -KL(a || b) without its term sum_c a_c log a_c. The term is
    constant along a row, so that the softmax, the contrast normalisation and all gradients are the
    same without it. The similarities of b to a are another matrix than the transpose.

    Args:
      x: float [..., C]; features ("cosine") or rows that sum to 1 ("negative_kl").
      metric: one of METRICS.

    Returns:
      (query, key): float32 [..., C], or float64 where x is.
    """
    x = as_float(x)
    if metric == "cosine":
        unit = normalize(x)
        return unit, unit
    return x, jnp.log(x + _LOG_FLOOR)


def similarity(query: Float[Array, "L1 C"], key: Float[Array, "L2 C"]) -> Float[Array, "L1 L2"]:
    """query [L1, C], key [L2, C] -> [L1, L2]."""
    return product(query, key, 1, 1)


def product(
    a: Float[Array, "..."], b: Float[Array, "..."], axis_a: int, axis_b: int
) -> Float[Array, "..."]:
    """The matrix product of a and b over one axis of each, in full precision."""
    return jax.lax.dot_general(
        a, b, (((axis_a,), (axis_b,)), ((), ())), precision=jax.lax.Precision.HIGHEST
    )


def contrast_normalize(matrix: Float[Array, "L1 L2"]) -> Float[Array, "L1 L2"]:
    """(s - mean) / deviation of every row of [L1, L2] (PLCA, eq. 5); both are constants for the
    gradient.

    Cosines of features are all alike: without it the softmax over thousands of pixels is nearly
    flat.
    """
    mean = jax.lax.stop_gradient(matrix.mean(1, keepdims=True))
    return (matrix - mean) / (
        jax.lax.stop_gradient(deviation(matrix, mean[:, 0]))[:, None] + STD_FLOOR
    )


def deviation(matrix: Float[Array, "L1 L2"], mean: Float[Array, " L1"]) -> Float[Array, " L1"]:
    """Unbiased standard deviation of the rows of [L1, L2] with means [L1]: [L1]; infinite for a row
    whose values differ by no more than rounding, which has no contrast to be normalised.

    Divided by its own rounding such a row would be noise, with gradients beyond the type's range.
    """
    found = jnp.sqrt(jnp.square(matrix - mean[:, None]).sum(1) / max(matrix.shape[1] - 1, 1))
    rounding = 8 * jnp.finfo(matrix.dtype).eps * jnp.abs(mean)  # 8: a sum rounds more than once
    return jnp.where(found > rounding, found, jnp.inf)


def first_argmax(matrix: Float[Array, "L1 L2"], peak: Float[Array, " L1"]) -> Int[Array, " L1"]:
    """int32 [L1], the first column of [L1, L2] that equals the row's maximum `peak` [L1].

    Two plain reductions: jnp.argmax is a scalar loop on a CPU and takes twice the time.
    """
    columns = jnp.arange(matrix.shape[1], dtype=jnp.int32)[None]
    return jnp.where(matrix == peak[:, None], columns, matrix.shape[1] - 1).min(1)
