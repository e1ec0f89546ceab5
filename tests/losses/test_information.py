"""SHOT's losses: the authors' values and gradients (tier2_shot), and cases by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_value_and_gradients

from dajax.losses.classification import cross_entropy
from dajax.losses.information import information_maximisation
from dajax.recipes import shot as recipe

TOLERANCE = 1e-4  # tests/golden/README.md


def test_both_stages_losses_are_the_authors(golden):
    case = golden("tier2_shot")[""]
    labels = jnp.asarray(case["pseudo_label"], jnp.int32)
    mask, weight = jnp.ones(len(labels), bool), recipe.get_config().shot.weight
    information = lambda x: information_maximisation(x, mask)  # noqa: E731

    def total(x):
        return weight * cross_entropy(x, labels).mean() + information(x)

    for function, value, grad in (
        (information, "im_loss", "im_grad"),
        (total, "total", "total_grad"),
    ):
        assert_value_and_gradients(function, [case["logits"]], case[value], [case[grad]], TOLERANCE)
    of_source = jnp.asarray(case["source_label"], jnp.int32)
    assert_value_and_gradients(
        lambda x: cross_entropy(x, of_source, recipe.SMOOTHING).mean(),
        [case["source_logits"]],
        case["smooth_loss"],
        [case["smooth_grad"]],
        TOLERANCE,
    )


def test_by_hand():
    """Sure of two classes in turn: -ln 2. Without an opinion: ln 2 - ln 2. Sure of one: 0."""
    for rows, expected in (
        ([[40.0, 0.0], [0.0, 40.0]], -np.log(2)),
        ([[0.0, 0.0], [0.0, 0.0]], 0.0),
        ([[40.0, 0.0], [40.0, 0.0]], 0.0),
    ):
        value = information_maximisation(jnp.array(rows), jnp.ones(2, bool))
        assert value == pytest.approx(expected, abs=5e-5)  # 1e-5 in the logarithms
    labels = jnp.array([0], jnp.int32)  # 0.9 + 0.05 and 0.05 of two classes
    smooth = cross_entropy(jnp.log(jnp.array([[0.75, 0.25]])), labels, 0.1)
    assert smooth[0] == pytest.approx(-0.95 * np.log(0.75) - 0.05 * np.log(0.25))


def test_padded_rows_do_not_count_and_no_rows_are_nothing():
    rows = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    padded = np.insert(rows, [0, 2], np.nan, axis=0)
    mask = jnp.asarray(np.isfinite(padded).all(1))
    both = jax.value_and_grad(information_maximisation)
    value, grad = both(jnp.asarray(padded), mask)
    expected, by_row = both(jnp.asarray(rows), jnp.ones(4, bool))
    assert value == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_allclose(grad[mask], by_row, atol=1e-6)
    value, grad = both(jnp.asarray(rows), jnp.zeros(4, bool))
    assert value == 0 and not grad.any()
