"""Pseudo-labels and their weight against the authors' (sota_pseudo_label.npz)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import between, channels_last, everywhere

from dajax.ops import teacher_labels


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("sota_pseudo_label")[""]


def run(logits, *, threshold, top=0, bottom=0, trusted=None):
    """(labels, weights, confidence)."""
    labels, confidence = teacher_labels.labels_and_confidence(channels_last(logits))
    share = teacher_labels.confident_share(confidence, everywhere(labels), threshold=threshold)
    weights = teacher_labels.pixel_weights(
        share, labels.shape, top=top, bottom=bottom, trusted=trusted
    )
    return labels, weights, confidence


def test_labels_and_weights_are_the_authors(arrays):
    for case in between(arrays, suffix="_max_prob"):
        top, bottom, threshold = arrays[f"{case}_top_bottom_threshold"]
        settings = dict(threshold=float(threshold), top=int(top), bottom=int(bottom))
        labels, weights, confidence = run(arrays[f"{case}_logits"], **settings)
        np.testing.assert_array_equal(labels, arrays[f"{case}_label"], err_msg=case)
        np.testing.assert_allclose(confidence, arrays[f"{case}_max_prob"], rtol=1e-6)
        np.testing.assert_allclose(weights, arrays[f"{case}_weight"], rtol=1e-6, err_msg=case)
        _, plain, _ = run(arrays[f"{case}_logits"], threshold=float(threshold))
        np.testing.assert_allclose(plain, arrays[f"{case}_weight_before_rows"], rtol=1e-6)


def test_rows_that_do_not_count_are_in_the_share_all_the_same(arrays):
    """The weight of the rows that remain is that of all of them."""
    left_out = 0
    for case in between(arrays, suffix="_max_prob"):
        top, bottom = arrays[f"{case}_top_bottom_threshold"][:2].astype(int)
        weights, plain = arrays[f"{case}_weight"], arrays[f"{case}_weight_before_rows"]
        rows = slice(top, weights.shape[1] - bottom)
        np.testing.assert_array_equal(weights[:, rows], plain[:, rows])
        assert weights.sum(dtype=float) == weights[:, rows].sum(dtype=float)
        left_out += top + bottom
    assert left_out > 0


def test_pixels_of_margins_weigh_nothing(arrays):
    share, mask = arrays["valid_weight_in"], arrays["valid_mask"][:, 0].astype(bool)
    assert len(np.unique(share)) == 1
    found = teacher_labels.pixel_weights(
        jnp.asarray(share[0, 0, 0]), share.shape, trusted=jnp.asarray(mask)
    )
    np.testing.assert_array_equal(found, arrays["valid_weight_out"])


def test_a_probability_at_the_threshold_counts(arrays):
    labels, weights, _ = run(arrays["tie_logits"], threshold=0.5)
    np.testing.assert_array_equal(labels, arrays["tie_label"])
    np.testing.assert_array_equal(weights, arrays["tie_weight"])
    _, weights, confidence = run(np.zeros((1, 2, 1, 1)), threshold=0.5)
    assert confidence == 0.5 and weights == 1


def test_without_a_threshold_every_pixel_weighs_one(arrays):
    _, weights, _ = run(arrays["one_logits"], threshold=0.0)
    np.testing.assert_array_equal(weights, arrays["no_threshold_weight"])


def test_a_batch_without_a_row_weighs_nothing():
    confidence = jnp.ones((2, 3, 4))
    share = jax.jit(lambda mask: teacher_labels.confident_share(confidence, mask, threshold=0.968))
    assert share(jnp.zeros((2, 3, 4), bool)) == 0 and share(jnp.ones((2, 3, 4), bool)) == 1


def test_the_mean_of_two_views_is_of_their_probabilities():
    """By hand: (0.999 + 0.2) / 2; of the logits the mean would be 0.94."""
    views = np.log([[0.999, 0.001], [0.2, 0.8]]).astype(np.float32) + 3.0
    logits, others = (jnp.asarray(view).reshape(1, 1, 1, 2) for view in views)
    found = teacher_labels.logits_of_mean(logits, others)
    np.testing.assert_allclose(jax.nn.softmax(found).ravel(), [0.5995, 0.4005], rtol=1e-5)
