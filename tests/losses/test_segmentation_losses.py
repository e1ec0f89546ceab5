"""Per-pixel losses against the authors' code (clan_seg.npz), by hand, and where nothing counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_value
from golden_arrays import channels_first, channels_last, ints
from ml_collections import ConfigDict

from dajax.losses.segmentation import (
    cross_entropy_map,
    focal_map,
    pixel_loss,
    valid_pixels,
)
from dajax.parallel import masked_mean

# tests/golden/README.md: float32 losses relative, gradients of the array's max
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4


def mean_loss(loss):
    def of(logits, labels):
        return masked_mean(
            loss(logits, labels), valid_pixels(labels, jnp.ones(labels.shape[0], bool))
        )

    return jax.jit(jax.value_and_grad(of))


@pytest.mark.parametrize(
    "prefix, value, loss",
    [
        ("", "clan_focal", lambda x, y: focal_map(x, y, gamma=2.0)),
        ("", "clan_gamma0", lambda x, y: focal_map(x, y, gamma=0.0)),
        ("", "asn_ce", cross_entropy_map),
        ("b3_", "asn_ce", cross_entropy_map),
    ],
)
def test_value_and_gradient_are_the_authors(golden, prefix, value, loss):
    case = golden("clan_seg")[""]
    logits, labels = channels_last(case[f"{prefix}logits"]), ints(case[f"{prefix}label"])
    found, grad = mean_loss(loss)(logits, labels)
    assert_value(found, case[f"{prefix}{value}_loss"], LOSS_TOLERANCE)
    assert_close(channels_first(grad), case[f"{prefix}{value}_grad"], GRADIENT_TOLERANCE)


def test_the_focal_loss_of_a_batch_is_the_mean_over_its_pixels_not_the_authors_mixture(golden):
    """Their view() mixes samples for N > 1; the intended mean is what we compute."""
    case = golden("clan_seg")[""]
    logits, labels = case["b3_logits"][:2], case["b3_label"][:2]
    focal = mean_loss(lambda x, y: focal_map(x, y, gamma=2.0))
    value, _ = focal(channels_last(logits), ints(labels))
    assert_value(value, case["b2_focal_loss_intended"], LOSS_TOLERANCE)
    assert abs(float(value) / case["b2_clan_focal_loss_as_coded_WRONG"] - 1) > 1e-3, (
        "the golden file tells the two apart"
    )


def test_two_pixels_by_hand():
    logits = jnp.log(jnp.asarray([[[[0.8, 0.2], [0.3, 0.7]]]]))
    labels = jnp.asarray([[[0, 0]]])
    np.testing.assert_allclose(
        cross_entropy_map(logits, labels)[0, 0], [-np.log(0.8), -np.log(0.3)], rtol=1e-6
    )
    np.testing.assert_allclose(
        focal_map(logits, labels, gamma=2.0)[0, 0],
        [-0.04 * np.log(0.8), -0.49 * np.log(0.3)],
        rtol=1e-6,
    )


@pytest.mark.parametrize("loss", [cross_entropy_map, lambda x, y: focal_map(x, y, gamma=2.0)])
def test_ignored_pixels_and_saturated_ones_have_finite_gradients(loss):
    logits = jnp.asarray([[[[200.0, -200.0], [200.0, -200.0], [0.0, 0.0]]]])
    value, grad = mean_loss(loss)(logits, jnp.asarray([[[0, 1, 255]]]))
    assert np.isfinite(value) and np.isfinite(grad).all() and not np.asarray(grad)[0, 0, 2].any()
    value, grad = mean_loss(loss)(logits, jnp.full((1, 1, 3), 255))
    assert value == 0 and not np.asarray(grad).any(), "all pixels ignored: loss 0 and no gradient"


def test_an_unknown_loss_is_named():
    with pytest.raises(
        ValueError, match="unknown segmentation loss 'focl'; known: cross_entropy, focal"
    ):
        pixel_loss(
            jnp.zeros((1, 1, 1, 2)), jnp.zeros((1, 1, 1), jnp.int32), ConfigDict({"kind": "focl"})
        )
