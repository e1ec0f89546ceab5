"""Softmax attention of several heads, as vision transformers use it."""

import jax
import jax.numpy as jnp


def attend(queries, keys, values):
    """softmax(q k^T / sqrt(D)) v of each head.

    On a GPU in bfloat16 it is cuDNN's flash attention, which never holds the matrix of all pairs;
    cuDNN has none for float32, nor for heads whose width is no multiple of 8.

    Args:
      queries: float [N, T, heads, D].
      keys, values: float [N, S, heads, D].

    Returns:
      [N, T, heads, D] of the queries' dtype.
    """
    is_flash = (
        jax.default_backend() == "gpu"
        and queries.dtype == jnp.bfloat16
        and queries.shape[-1] % 8 == 0
    )
    implementation = "cudnn" if is_flash else "xla"
    # jax.nn's own code promotes bfloat16 to float32 for the softmax
    with jax.numpy_dtype_promotion("standard"):
        return jax.nn.dot_product_attention(queries, keys, values, implementation=implementation)
