"""Lengths of vectors whose gradient is finite where a vector is 0."""

import jax.numpy as jnp

from dajax.typing import Array, Float


def lengths(x: Float[Array, "*rows D"]) -> Float[Array, "*rows"]:
    """|x| over the last axis: float32 [..., D] -> float32 [...]; of a zero vector 0 with zero
    gradient, where the square root alone has none that is finite.
    """
    square = jnp.square(x).sum(-1)
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
