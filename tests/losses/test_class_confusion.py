"""MCC, BNM, FBNM and BFM: the authors' values and gradients (tier2_mcc, tier2_bnm_afn), a case by
hand, and what must not count.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_value_and_gradients

from dajax.losses.class_confusion import (
    class_confusion,
    fast_nuclear_norm,
    frobenius_norm,
    minimum_class_confusion,
    nuclear_norm,
)

TOLERANCE = 1e-4  # tests/golden/README.md
NORMS = {"bnm": nuclear_norm, "fbnm": fast_nuclear_norm, "bfm": frobenius_norm}
ALL = {"mcc": lambda logits, mask: minimum_class_confusion(logits, mask, 2.5)} | NORMS


def everywhere(logits):
    return jnp.ones(len(logits), bool)


def test_mcc_is_the_authors(golden):
    case = golden("tier2_mcc")[""]
    names = [key.removeprefix("logits_") for key in case if key.startswith("logits_")]
    assert len(names) > 1
    for name in names:
        logits, temperature = case[f"logits_{name}"], float(case[f"temperature_{name}"])
        mask = everywhere(logits)
        confusion = class_confusion(jnp.asarray(logits, jnp.float32), mask, temperature)
        assert_close(confusion, case[f"confusion_{name}"], TOLERANCE, err_msg=name)
        assert_value_and_gradients(
            lambda x, mask=mask, t=temperature: minimum_class_confusion(x, mask, t),
            [logits],
            case[f"loss_{name}"],
            [case[f"grad_{name}"]],
            TOLERANCE,
        )


@pytest.mark.parametrize("name", NORMS)
def test_norms_are_the_authors(name, golden):
    case = golden("tier2_bnm_afn")[""]
    mask = everywhere(case["logits"])
    loss, grads = case[f"{name}_loss"], [case[f"{name}_grad"]]
    assert_value_and_gradients(
        lambda x: NORMS[name](x, mask), [case["logits"]], loss, grads, TOLERANCE
    )


def test_by_hand():
    """Two rows that are sure of two classes: no confusion, two singular values of 1. Two rows
    without an opinion: every entry of C is 1/2, and one singular value of 1.
    """
    sure, unsure = jnp.array([[40.0, 0.0], [0.0, 40.0]]), jnp.zeros((2, 2))
    values = {
        name: [float(loss(x, everywhere(x))) for x in (sure, unsure)] for name, loss in ALL.items()
    }
    assert values["mcc"][1] == pytest.approx(0.5) and values["mcc"][0] < 1e-6
    assert values["bnm"] == pytest.approx([-1.0, -0.5])
    assert values["fbnm"] == pytest.approx([-1.0, -np.sqrt(0.5)])
    assert values["bfm"] == pytest.approx([-1.0, -np.sqrt(0.5)])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("padding", [50.0, np.nan])
def test_padded_rows_do_not_count_whatever_they_hold(name, padding):
    """Also where fewer rows count than there are classes."""
    loss = jax.value_and_grad(ALL[name])
    rows = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    mask = np.array([1, 0, 1, 0, 1, 0], bool)
    padded = np.full((6, 5), padding, np.float32)
    padded[mask] = rows
    (value, grad), (expected, by_row) = (
        loss(jnp.asarray(padded), jnp.asarray(mask)),
        loss(jnp.asarray(rows), jnp.ones(3, bool)),
    )
    assert value == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_allclose(grad[mask], by_row, atol=1e-6)
    assert not grad[~mask].any()


@pytest.mark.parametrize("name", ALL)
def test_finite_for_no_rows_for_one_for_equal_rows_and_for_an_absent_class(name):
    for rows in (jnp.zeros((4, 3)), jnp.array([[90.0, 0.0, -90.0]] * 4)):
        for count in (0, 1, 4):
            value, grad = jax.value_and_grad(ALL[name])(rows, jnp.arange(4) < count)
            assert np.isfinite(value) and np.isfinite(grad).all(), (rows, count)
            assert count or (value == 0 and not grad.any())
