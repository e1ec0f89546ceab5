"""Adaptive label smoothing against PLCA's code (plca_losses.npz), by hand, and where it is zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_value
from golden_arrays import between, channels_first, channels_last, names_in

from dajax.losses.label_smoothing import adaptive_label_smoothing
from dajax.parallel import masked_mean

# tests/golden/README.md: float32 losses relative, gradients of the array's max
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 2e-6, 2e-5


def mean_loss(threshold, mask=None):
    def of(logits):
        values = adaptive_label_smoothing(logits, threshold)
        return masked_mean(values, jnp.ones(values.shape, bool) if mask is None else mask)

    return jax.jit(jax.value_and_grad(of))


@pytest.mark.parametrize("threshold", between(names_in("plca_losses"), "lsr", "/grad_logits"))
def test_value_and_gradient_are_the_authors(golden, threshold):
    arrays, case = golden("plca_losses"), golden("plca_losses")[f"lsr{threshold}"]
    value, grad = mean_loss(float(threshold))(channels_last(arrays[""]["logits"]))
    assert_value(value, case["loss"], LOSS_TOLERANCE)
    assert_close(channels_first(grad), case["grad_logits"], GRADIENT_TOLERANCE)


def test_without_a_threshold_the_value_is_the_authors(golden):
    """Plain label smoothing; the file has no gradient of it."""
    arrays = golden("plca_losses")
    value, _ = mean_loss(0.0)(channels_last(arrays[""]["logits"]))
    assert_value(value, arrays["lsr0"]["loss"], LOSS_TOLERANCE)


def test_two_by_two_by_hand():
    """l = -log sqrt(p q). The gradient is the factor times softmax - 1/2: of sure and unsure pixels
    it has opposite signs.
    """
    probabilities = np.array([[[[0.5, 0.5], [0.8, 0.2]], [[0.9, 0.1], [0.999, 0.001]]]])
    values = adaptive_label_smoothing(jnp.log(jnp.asarray(probabilities, jnp.float32)), 1.5)
    smoothing = -np.log(probabilities.prod(-1)) / 2
    factor = smoothing / 1.5 - 1
    np.testing.assert_allclose(values, factor * smoothing, rtol=1e-5)
    _, grad = mean_loss(1.5)(jnp.log(jnp.asarray(probabilities, jnp.float32)))
    np.testing.assert_allclose(grad, factor[..., None] * (probabilities - 0.5) / 4, atol=1e-6)
    assert factor[0, 0, 1] < 0 < factor[0, 1, 1], "below and above the threshold"


def test_saturated_logits_and_an_empty_mask_have_finite_gradients():
    value, grad = mean_loss(10.0)(jnp.asarray([[[[200.0, -200.0], [0.0, 0.0]]]]))
    assert np.isfinite(value) and np.isfinite(grad).all()
    value, grad = mean_loss(10.0, jnp.zeros((1, 1, 2), bool))(jnp.ones((1, 1, 2, 3)))
    assert value == 0 and not np.asarray(grad).any()
