"""Convolution in the forms that are fast on a CPU: the values and gradients are XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dajax.models import convolution
from dajax.models.convolution import WIDE, convolve


def arrays(size_hw, side, channels, out, rows=2):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, *size_hw, channels)).astype(np.float32)
    kernel = rng.normal(size=(side, side, channels, out)).astype(np.float32)
    return x, kernel


def value_and_gradients(function, x, kernel, settings):
    out, pull = jax.vjp(lambda x, kernel: function(x, kernel, **settings), x, kernel)
    cotangent = np.random.default_rng(1).normal(size=out.shape).astype(np.float32)
    return out, *pull(jnp.asarray(cotangent))


@pytest.mark.parametrize(
    "size_hw, side, stride, padding, dilation",
    [((7, 9), 3, 1, 1, 1), ((9, 6), 3, 1, 4, 4), ((9, 8), 3, 2, 1, 1), ((5, 5), 1, 2, 0, 1)],
)
def test_wide_layers_have_the_values_and_gradients_of_xlas_convolution(
    size_hw, side, stride, padding, dilation
):
    x, kernel = arrays(size_hw, side, WIDE, WIDE)
    settings = dict(stride=stride, padding=padding, dilation=dilation)
    found = value_and_gradients(convolve, x, kernel, settings)
    wanted = value_and_gradients(convolution._direct, x, kernel, settings)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("channels, products", [(WIDE, 9), (WIDE - 1, 0)])
def test_only_a_wide_kernels_gradient_is_made_of_products(channels, products):
    x, kernel = arrays((5, 5), 3, channels, channels, rows=1)

    def loss(kernel, x):
        return convolve(x, kernel, padding=1).sum()

    program = jax.jit(jax.grad(loss)).lower(kernel, x).as_text()
    assert program.count("dot_general") == products
