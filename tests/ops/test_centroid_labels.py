"""SHOT's pseudo-labels: the authors' (tier2_shot), and a case by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import between

from dajax.ops.centroid_labels import centroid_labels


def labels(features, logits, distance="cosine", min_images=0):
    rows = [jnp.asarray(x, jnp.float32) for x in (features, logits)]
    found = jax.jit(functools.partial(centroid_labels, distance=distance, min_images=min_images))
    return np.asarray(found(*rows))


def test_they_are_the_authors(golden):
    case = golden("tier2_shot")[""]
    both = case["features"], case["target_logits"]
    np.testing.assert_array_equal(case["target_logits"].argmax(1), case["argmax"])
    others = 0
    for name in between(case, "label_"):
        distance, _, threshold = name.partition("_threshold_")
        found = labels(*both, distance=distance, min_images=int(threshold or 0))
        np.testing.assert_array_equal(found, case[f"label_{name}"], err_msg=name)
        others += (found != case["argmax"]).sum()
    assert others > 0


def test_a_row_that_the_head_gets_wrong_goes_to_its_neighbours():
    features = [[1.0, 0.0], [1.0, 0.1], [0.9, 0.0], [0.0, 1.0], [0.1, 1.0], [0.0, 0.9]]
    logits = np.array([[4.0, 0.0, 0.0]] * 3 + [[0.0, 4.0, 0.0]] * 3)
    logits[2] = [0.0, 1.0, 0.0]
    np.testing.assert_array_equal(labels(features, logits), [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_a_class_that_nothing_is_predicted_as_is_nobodys(distance):
    """Though its probabilities make a centroid too."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(30, 4))
    logits[:, 2] = -3.0
    assert 2 not in labels(rng.normal(size=(30, 5)), logits, distance)
    same = labels(np.ones((6, 3)), np.zeros((6, 4)), distance)
    np.testing.assert_array_equal(same, 0)
