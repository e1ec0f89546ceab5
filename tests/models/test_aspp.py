"""ASPP against XLA's own dilated convolutions."""

import jax
import jax.numpy as jnp
import numpy as np

from dajax.models.aspp import ASPP


def test_aspp_is_the_sum_of_dilated_convolutions():
    """On a map of 5 x 9 with rates up to 12, so that taps see all of it, some, or padding only;
    gradients too.
    """
    rates, x = (1, 4, 5, 12), jax.random.normal(jax.random.key(0), (2, 5, 9, 6))
    layer = ASPP(num_classes=3, rates=rates, branches=4, use_bias=True, kernel_init="normal")
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    assert all(leaf.any() for leaf in jax.tree.leaves(variables)), (
        "kernels and biases both begin at random"
    )

    def convolutions(variables, x):
        y = jnp.zeros(())
        for i, rate in enumerate(rates):
            branch = variables["params"][f"conv2d_list_{i}"]
            conv = jax.lax.conv_general_dilated(
                x,
                branch["kernel"],
                (1, 1),
                ((rate, rate),) * 2,
                rhs_dilation=(rate, rate),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            y = (
                y.reshape((1,) * (4 - y.ndim) + y.shape)
                + conv
                + branch["bias"].reshape(1, 1, 1, -1)
            )
        return y

    @jax.jit
    def compare(variables, x, cotangent):
        results = []
        for f in (layer.apply, convolutions):
            y, vjp = jax.vjp(f, variables, x)
            results.append((y, vjp(cotangent)))
        return results

    actual, expected = compare(variables, x, jax.random.normal(jax.random.key(2), (2, 5, 9, 3)))
    # sums of up to 90 products
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), actual, expected)
