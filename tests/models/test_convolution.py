"""Convolution in the forms that are fast on a CPU and on a GPU: the values and gradients are XLA's
own.
"""

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


@pytest.mark.parametrize("channels, out", [(5, 7), (7, 3)])
@pytest.mark.parametrize(
    "size_hw, stride, padding, dilation",
    [((9, 6), 1, 4, 4), ((9, 6), 1, 2, 4), ((9, 11), 2, 2, 2), ((12, 11), 1, 9, 4)],
)
def test_a_gpus_gradient_of_a_dilated_kernel_is_xlas(
    size_hw, stride, padding, dilation, channels, out
):
    """Of few and of many outputs, at every padding: the form copies the map or the gradient."""
    x, kernel = arrays(size_hw, 3, channels, out)
    settings = dict(stride=stride, padding=padding, dilation=dilation)
    y, pull = jax.vjp(lambda kernel: convolution._direct(x, kernel, **settings), kernel)
    grad = jnp.asarray(np.random.default_rng(1).normal(size=y.shape).astype(np.float32))
    ours = convolution._one_product(jnp.asarray(x), grad, shape=kernel.shape, **settings)
    theirs = pull(grad)[0]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("dilation, convolutions", [(1, 3), (2, 2)])
def test_on_a_gpu_only_a_dilated_kernels_gradient_is_a_product(dilation, convolutions):
    """Of the forward pass and of both gradients."""
    x, kernel = arrays((5, 5), 3, 4, 4, rows=1)

    def loss(kernel, x):
        return jnp.square(convolve(x, kernel, padding=dilation, dilation=dilation)).sum()

    traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(kernel, x)
    program = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert program.count("stablehlo.convolution") == convolutions
    assert program.count("stablehlo.dot_general") == 3 - convolutions


@pytest.mark.parametrize("channels, products", [(WIDE, 9), (WIDE - 1, 0)])
def test_only_a_wide_kernels_gradient_is_made_of_products(channels, products):
    x, kernel = arrays((5, 5), 3, channels, channels, rows=1)

    def loss(kernel, x):
        return convolve(x, kernel, padding=1).sum()

    program = jax.jit(jax.grad(loss)).lower(kernel, x).as_text()
    assert program.count("dot_general") == products
