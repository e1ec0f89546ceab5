"""MCD's losses against tllib (can_tllib), and MSCAN's weights against their formula (can_bsa)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_value

from dajax.losses.boundary_sensitive import source_weights
from dajax.losses.classifier_discrepancy import (
    classifier_discrepancy,
    negative_log_balance,
)

TOLERANCE = 2e-5  # tests/golden/README.md


def test_mcd_is_tllibs(golden):
    case = golden("can_tllib")["mcd"]
    mask = jnp.ones(len(case["logits_1"]), bool)

    def apart(a, b):
        return classifier_discrepancy(jax.nn.softmax(a), jax.nn.softmax(b)).mean()

    def balance(a, b):
        return negative_log_balance(jax.nn.softmax(a), mask) + negative_log_balance(
            jax.nn.softmax(b), mask
        )

    for function, name, expected in (
        (apart, "discrepancy", "discrepancy"),
        (balance, "entropy", "entropy_sum"),
    ):
        value, grads = jax.jit(jax.value_and_grad(function, argnums=(0, 1)))(
            case["logits_1"], case["logits_2"]
        )
        assert_value(value, case[expected], TOLERANCE)
        for i, grad in enumerate(grads, start=1):
            assert_close(grad, case[f"grad_{name}_logits_{i}"], TOLERANCE)


def test_hand_computed_discrepancy_and_balance():
    a, b = jnp.array([[1.0, 0.0]]), jnp.array([[0.25, 0.75]])
    np.testing.assert_allclose(classifier_discrepancy(a, b), [0.75])
    balanced = negative_log_balance(
        jnp.array([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]), jnp.array([True, True, False])
    )
    # each class in half of the valid rows
    np.testing.assert_allclose(balanced, np.log(2), rtol=1e-5)


@pytest.mark.parametrize("rows", ["none", "identical"])
def test_balance_and_discrepancy_have_finite_gradients(rows):
    mask = jnp.zeros(3, bool) if rows == "none" else jnp.ones(3, bool)
    logits = jnp.zeros((3, 4))

    def loss(x):
        p = jax.nn.softmax(x)
        return negative_log_balance(p, mask) + classifier_discrepancy(p, p).sum()

    value, grad = jax.value_and_grad(loss)(logits)
    assert np.isfinite(value) and np.isfinite(grad).all()
    if rows == "none":
        assert value == 0 and not np.asarray(grad).any()


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_boundary_sensitive_weights_are_the_formula(golden, stop_gradient):
    case = golden("can_bsa")["bsa"]
    cross_entropies, discrepancies = (
        jnp.asarray(case[name], jnp.float32) for name in ("ce", "cdd")
    )

    def total(ce, cdd):
        weights = source_weights(ce, weighting="bsa", stop_gradient=stop_gradient)
        return ce.sum() + float(case["beta"]) * (weights * cdd).sum()

    value, (of_ce, of_cdd) = jax.value_and_grad(total, argnums=(0, 1))(
        cross_entropies, discrepancies
    )
    # float32 against float64
    assert_value(source_weights(cross_entropies, weighting="bsa"), case["weight"], 1e-5)
    assert_value(value, case["total"], 1e-5)
    assert_value(of_cdd, case["grad_cdd"], 1e-5)
    assert_value(of_ce, case["grad_ce_stopgrad" if stop_gradient else "grad_ce_nostopgrad"], 1e-4)


def test_the_source_with_the_lower_cross_entropy_weighs_more_and_none_of_them_is_infinite():
    weights = source_weights(jnp.array([0.0, 0.5, 1.0]), weighting="bsa")
    assert np.isfinite(weights).all() and weights[0] > weights[1] > weights[2]
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(source_weights(jnp.array([0.1, 9.0]), weighting="uniform"), 0.5)
    np.testing.assert_allclose(source_weights(jnp.array([0.1, 9.0]), weighting="one"), 1.0)
    with pytest.raises(ValueError, match="known: bsa, uniform, one"):
        source_weights(jnp.ones(2), weighting="bas")
