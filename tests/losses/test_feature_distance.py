"""DAFormer's feature distance against the authors' (sota_feature_distance.npz), and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_value
from golden_arrays import between, channels_first, channels_last, ints

from dajax.losses.feature_distance import cell_labels, feature_distance, is_any_of
from dajax.ops.labels import IGNORED
from dajax.parallel import masked_mean

WEIGHT = 0.005  # in the file's losses, tests/golden/README.md


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("sota_feature_distance")[""]


@jax.jit
def loss_and_gradient(features, frozen, is_thing):
    def loss_of(features):
        return WEIGHT * masked_mean(feature_distance(features, frozen), is_thing)

    return jax.value_and_grad(loss_of)(features)


def cells_of(labels, scale, min_share):
    """Of as many classes as the labels need."""
    num_classes = 1 + int(labels[labels != IGNORED].max())
    settings = dict(scale=scale, min_share=min_share, num_classes=num_classes)
    return jax.jit(functools.partial(cell_labels, **settings))(labels)


def test_cells_loss_and_gradient_are_the_authors(arrays):
    cases = between(arrays, suffix="_small")
    things, without_things = tuple(arrays["thing_classes"].tolist()), 0
    for case in cases:
        scale, min_share = arrays[f"{case}_factor_ratio"]
        cells = cells_of(ints(arrays[f"{case}_label"]), int(scale), float(min_share))
        np.testing.assert_array_equal(cells, arrays[f"{case}_small"], err_msg=case)
        is_thing = is_any_of(cells, things)
        np.testing.assert_array_equal(is_thing, arrays[f"{case}_mask"], err_msg=case)
        features, frozen = (
            channels_last(arrays[f"{case}_{key}"]) for key in ("feat", "feat_imagenet")
        )
        loss, grad = loss_and_gradient(features, frozen, is_thing)
        if not is_thing.any():
            without_things += 1
            assert np.isnan(arrays[f"{case}_loss"]) and loss == 0 and not grad.any()
            continue
        assert_value(loss, arrays[f"{case}_loss"], 1e-5, err_msg=case)
        assert_close(channels_first(grad), arrays[f"{case}_grad"], 1e-5, err_msg=case)
    assert without_things < len(cases)


def test_without_a_cell_of_a_thing_the_loss_is_0_and_not_nan():
    features = jnp.ones((1, 2, 2, 3))
    nothing = jnp.zeros((1, 2, 2), bool)
    loss, grad = loss_and_gradient(features, jnp.zeros_like(features), nothing)
    assert loss == 0 and not grad.any()


def test_edges_are_the_authors(arrays):
    """48 and 47 of 64 pixels, and a tie."""
    labels = ints(arrays["edge_label"])
    for share in between(arrays, "edge_small_"):
        expected = arrays[f"edge_small_{share}"]
        found = cells_of(labels, labels.shape[1] // expected.shape[1], float(share))
        np.testing.assert_array_equal(found, expected, err_msg=share)


def test_equal_features_have_no_gradient(arrays):
    expected = arrays["zero_distance_grad"]
    features = jnp.ones(channels_last(expected).shape)
    loss, grad = loss_and_gradient(features, features, jnp.ones(features.shape[:3], bool))
    assert loss == arrays["zero_distance_loss"] == 0
    np.testing.assert_array_equal(channels_first(grad), expected)


def test_a_cell_of_mostly_nothing_has_no_class():
    labels = jnp.full((1, 4, 4), IGNORED, jnp.int32).at[0, 0].set(11)
    found = cells_of(labels, 4, 0.1)
    np.testing.assert_array_equal(found, [[[IGNORED]]])
