"""Conv and max_pool: torch's sizes, and the matrix product against XLA's own convolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dajax.models.layers import (
    ChannelDropout,
    Conv,
    DepthwiseConv,
    Dropout,
    DropPath,
    LayerNorm,
    head_init,
    max_pool,
)
from dajax.models.norm import Mode


@pytest.mark.parametrize("size", [(6, 7), (7, 8)])
@pytest.mark.parametrize(
    "kernel_size, stride, padding, dilation",
    [
        (1, 1, 0, 1),
        (1, 2, 0, 1),
        (1, 1, 1, 1),
        (3, 1, 1, 1),
        (3, 2, 1, 1),
        (3, 1, 2, 2),
        (7, 2, 3, 1),
        (2, 2, 0, 1),
        (4, 4, 0, 1),
    ],
)
def test_convolution_is_the_sum_over_taps(size, kernel_size, stride, padding, dilation):
    """Against torch's definition in float64, gradient included; 1x1 is a matrix product here."""
    layer = Conv(4, kernel_size, stride=stride, padding=padding, dilation=dilation)
    x = jax.random.normal(jax.random.key(0), (2, *size, 3))
    variables = layer.init(jax.random.key(1), x)
    padded = np.pad(
        np.asarray(x, np.float64), ((0, 0), (padding, padding), (padding, padding), (0, 0))
    )
    kernel = np.asarray(variables["params"]["kernel"], np.float64)
    out_hw = [(n + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1 for n in size]
    expected = np.zeros((2, *out_hw, 4))
    grad_kernel, grad_padded = np.zeros_like(kernel), np.zeros_like(padded)
    cotangent = np.random.default_rng(0).standard_normal(expected.shape)
    for i in range(kernel_size):
        for j in range(kernel_size):
            rows, columns = (
                slice(k * dilation, k * dilation + (n - 1) * stride + 1, stride)
                for k, n in zip((i, j), out_hw, strict=True)
            )
            expected += padded[:, rows, columns] @ kernel[i, j]
            grad_kernel[i, j] = np.einsum("nhwc,nhwd->cd", padded[:, rows, columns], cotangent)
            grad_padded[:, rows, columns] += cotangent @ kernel[i, j].T
    y, vjp = jax.vjp(layer.apply, variables, x)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    grads, grad_x = vjp(jnp.asarray(cotangent, jnp.float32))
    # sums of a hundred terms in float32
    np.testing.assert_allclose(grads["params"]["kernel"], grad_kernel, atol=1e-4)
    np.testing.assert_allclose(
        grad_x, grad_padded[:, padding : padding + size[0], padding : padding + size[1]], atol=1e-4
    )


def test_a_bias_is_added_where_asked_for():
    layer, x = Conv(4, 3, padding=1, use_bias=True), jnp.zeros((1, 2, 2, 3))
    variables = layer.init(jax.random.key(0), x)
    assert variables["params"]["bias"].shape == (4,) and not variables["params"]["bias"].any()
    bias = jnp.arange(4.0)
    y = layer.apply({"params": {**variables["params"], "bias": bias}}, x)
    np.testing.assert_array_equal(y, np.broadcast_to(bias, (1, 2, 2, 4)))


@pytest.mark.parametrize(
    "size, floor_size, ceil_size",
    [(1, 1, 1), (7, 4, 4), (8, 4, 5), (32, 16, 17), (33, 17, 17), (112, 56, 57)],
)
def test_pooled_sizes_are_torchs(size, floor_size, ceil_size):
    x = jnp.zeros((1, size, 9, 1))
    assert max_pool(x).shape == (1, floor_size, 5, 1)
    assert max_pool(x, ceil_mode=True).shape == (1, ceil_size, 5, 1)


def test_pooling_pads_with_minus_infinity():
    x = -1.0 - jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(max_pool(x)[0, ..., 0], [[-1, -2], [-5, -6]])
    np.testing.assert_array_equal(
        max_pool(x, ceil_mode=True)[0, ..., 0], [[-1, -2, -4], [-5, -6, -8], [-13, -14, -16]]
    )


def test_initial_deviations_are_torchvisions_and_cans():
    """torchvision: sqrt(2 / (out kh kw)); CAN's head on 2048 features: 0.03125. Within 3 %: a
    sample of 73,728 has a deviation of 0.3 %.
    """
    kernel = Conv(128, 3).init(jax.random.key(0), jnp.zeros((1, 3, 3, 64)))["params"]["kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (128 * 9)), rtol=0.03)
    assert np.abs(kernel).max() > 3 * kernel.std(), "a normal, not truncated"
    head = nn.Dense(31, kernel_init=head_init).init(jax.random.key(0), jnp.zeros((1, 2048)))[
        "params"
    ]
    np.testing.assert_allclose(head["kernel"].std(), 0.03125, rtol=0.03)


SHARED = {Dropout: (), ChannelDropout: (1, 2), DropPath: (1, 2, 3)}  # axes that fall together


@pytest.mark.parametrize("layer", SHARED)
def test_what_is_dropped_falls_together_and_the_rest_grows(layer):
    """Dropout entries, ChannelDropout channels of an image, DropPath images; what stays is divided
    by 1 - rate. A row's draw hangs on its number alone, so that two devices drop what one does.
    """
    x = jnp.ones((64, 3, 4, 8))
    rng = {"dropout": jax.random.key(0)}

    def run(x, rows, **mode):
        return layer(0.25).apply({}, x, Mode(train=True, rows=rows, **mode), rngs=rng)

    y = np.asarray(run(x, jnp.arange(64)))
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    np.testing.assert_array_equal(y.min(SHARED[layer]), y.max(SHARED[layer]))
    assert abs((y == 0).mean() - 0.25) < 0.15  # of 64 draws the standard deviation is 0.05
    np.testing.assert_array_equal(run(x[40:], jnp.arange(40, 64)), y[40:])


@pytest.mark.parametrize("layer", SHARED)
@pytest.mark.parametrize("mode", [Mode(), Mode(train=True, deterministic=True)])
def test_nothing_is_dropped_in_inference_and_by_a_teacher(layer, mode):
    """And no key is asked for."""
    x = jnp.ones((2, 3, 4, 8))
    np.testing.assert_array_equal(layer(0.25).apply({}, x, mode), x)


@pytest.mark.parametrize("form", ["cpu", "default"])
@pytest.mark.parametrize("dilation", [1, 3])
def test_a_depthwise_convolution_is_xlas_grouped_one(monkeypatch, dilation, form):
    """Value and both gradients, in the form of either kind of device; taps beyond the border see
    zeros.
    """
    monkeypatch.setattr(
        jax.lax, "platform_dependent", lambda *arrays, **forms: forms[form](*arrays)
    )
    layer = DepthwiseConv(3, dilation=dilation, use_bias=True)
    x = jax.random.normal(jax.random.key(0), (2, 5, 7, 6))
    variables = layer.init(jax.random.key(1), x)
    variables["params"]["bias"] = jnp.arange(6.0)

    def grouped(variables, x):
        y = jax.lax.conv_general_dilated(
            x,
            variables["params"]["kernel"],
            (1, 1),
            ((dilation,) * 2,) * 2,
            rhs_dilation=(dilation,) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=6,
        )
        return y + variables["params"]["bias"].reshape(1, 1, 1, -1)

    y, vjp = jax.vjp(layer.apply, variables, x)
    expected, expected_vjp = jax.vjp(grouped, variables, x)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    cotangent = jax.random.normal(jax.random.key(2), y.shape)
    for a, b in zip(
        jax.tree.leaves(vjp(cotangent)), jax.tree.leaves(expected_vjp(cotangent)), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_layer_normalisation_is_torchs():
    """Biased variance over the last axis, epsilon inside of the root; in float32 for bfloat16."""
    x = jnp.asarray(np.random.default_rng(0).normal(100.0, 0.1, (3, 4, 8)), jnp.float32)
    layer = LayerNorm(1e-5)
    variables = layer.init(jax.random.key(0), x)
    wide = np.asarray(x, np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    expected = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-3)
    short = layer.apply(variables, x.astype(jnp.bfloat16))
    assert short.dtype == jnp.bfloat16 and np.isfinite(np.asarray(short, np.float32)).all()
