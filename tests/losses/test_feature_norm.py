"""AFN's two losses: the authors' values and gradients (tier2_bnm_afn), and where features are 0."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_value_and_gradients

from dajax.losses.feature_norm import hard_norm, stepwise_norm
from dajax.recipes import afn as recipe

TOLERANCE = 1e-4  # tests/golden/README.md
RADIUS = 25.0  # the authors'
LOSSES = {
    "safn": functools.partial(stepwise_norm, delta=1.0),
    "hafn": functools.partial(hard_norm, radius=RADIUS),
}


@pytest.mark.parametrize("name", LOSSES)
def test_they_are_the_authors(name, golden):
    case = golden("tier2_bnm_afn")[""]
    settings = recipe.get_config().afn
    assert settings.delta == 1.0
    mask = jnp.ones(len(case["features"]), bool)
    assert_value_and_gradients(
        lambda x: settings.weight * LOSSES[name](x, mask),
        [case["features"]],
        case[f"{name}_loss"],
        [case[f"{name}_grad"]],
        TOLERANCE,
    )


def test_by_hand():
    rows, mask = jnp.array([[3.0, 4.0], [0.0, 0.0], [0.0, 1.0]]), jnp.array([1, 1, 0], bool)
    value, grad = jax.value_and_grad(LOSSES["safn"])(rows, mask)
    assert value == pytest.approx(1.0)  # delta squared
    np.testing.assert_allclose(grad, [[-0.6, -0.8], [0, 0], [0, 0]], rtol=1e-6)
    value, grad = jax.value_and_grad(LOSSES["hafn"])(rows, mask)
    assert value == pytest.approx((2.5 - RADIUS) ** 2)
    np.testing.assert_allclose(grad, [[-27.0 / 2 * 1.0, -18.0], [0, 0], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_no_rows_are_nothing_whatever_they_hold(name):
    value, grad = jax.value_and_grad(LOSSES[name])(jnp.full((2, 3), jnp.nan), jnp.zeros(2, bool))
    assert value == 0 and not grad.any()
