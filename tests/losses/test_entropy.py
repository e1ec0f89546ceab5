"""The entropy of predictions, right and as DASS's released code has it (dass_iter)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_value
from golden_arrays import channels_last

from dajax.losses.entropy import entropy_map


@pytest.mark.parametrize(
    "name, double_softmax", [("loss_entropy", True), ("loss_entropy_true", False)]
)
def test_the_entropy_is_the_released_codes_and_the_right_one(golden, name, double_softmax):
    case = golden("dass_iter")[""]
    run = jax.jit(lambda z: entropy_map(z, double_softmax=double_softmax).mean())
    source, target = (run(channels_last(case[f"logits_{domain}"])) for domain in "st")
    # tests/golden/README.md, of scalars in float32
    assert_value(case["lamb"] * (source + case["lambt"] * target), case[name], 1e-5)


def test_entropy_by_hand():
    logits = jnp.log(jnp.asarray([[[[0.25, 0.75], [0.5, 0.5]]]]))
    np.testing.assert_allclose(
        entropy_map(logits), [[[-0.25 * np.log(0.25) - 0.75 * np.log(0.75), np.log(2)]]], rtol=1e-6
    )
    p = np.array([0.25, 0.75])
    np.testing.assert_allclose(
        entropy_map(logits, double_softmax=True)[0, 0, 0],
        -(p * (p - np.log(np.exp(p).sum()))).sum(),
        rtol=1e-6,
    )


def test_the_double_softmax_is_compressed():
    logits = jnp.zeros((1, 1, 2, 19)).at[0, 0, 0, 3].set(100.0)
    # The ends of its range: a sure pixel, and log 19 of an undecided one.
    np.testing.assert_allclose(
        entropy_map(logits, double_softmax=True)[0, 0], [2.03, 2.94], atol=0.01
    )
    np.testing.assert_allclose(entropy_map(logits)[0, 0], [0.0, np.log(19)], atol=1e-6)


@pytest.mark.parametrize("double_softmax", [False, True])
def test_certain_pixels_have_a_finite_entropy_and_gradient(double_softmax):
    logits = jnp.asarray([[[[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]]]])
    value, grad = jax.value_and_grad(lambda z: entropy_map(z, double_softmax=double_softmax).sum())(
        logits
    )
    assert np.isfinite(value) and np.isfinite(grad).all()
