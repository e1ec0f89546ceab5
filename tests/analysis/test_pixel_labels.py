"""Kinds of pseudo-labels, their density and accuracy, and what a classifier is wrong about."""

import jax.numpy as jnp
import numpy as np
import pytest

from dajax.analysis.pixel_labels import Quality, bicl_labels, class_counts
from dajax.analysis.predictions import least_sure, softmax, worst_failures


def test_density_and_accuracy_by_hand():
    quality = Quality()
    assert quality.density is None and quality.accuracy is None
    quality.add(np.array([[0, 1], [255, 1]]), np.array([[0, 0], [1, 255]]), 2)
    assert quality.density == pytest.approx(100 * 2 / 3), "two of three pixels with a class"
    assert quality.accuracy == 50.0
    quality.add(np.array([1]), np.array([1]), 2)
    assert (quality.density, quality.accuracy) == (75.0, pytest.approx(100 * 2 / 3))


def test_pixels_outside_of_the_classes_count_nowhere():
    assert class_counts(np.array([[0, 2], [2, 255]], np.uint8), 3).tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    "score, threshold, temperature", [("cosine", 0.8, 1.0), ("probability", 0.9, 0.1)]
)
def test_calibration_labels_what_the_source_alone_does_not(score, threshold, temperature):
    """The target's class 1 is the source's turned by 45 degrees, which the bias knows."""
    features = jnp.array([[[[1.0, 0.0], [1.0, 1.0], [0.2, -1.0]]]])  # [1, 1, 3, 2]
    source = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([True, True])
    bias = jnp.array([[0.0, 0.0], [1.0, 0.0]])
    static = jnp.array([[[0, 255, 1]]], jnp.int32)
    found = bicl_labels(
        features,
        static,
        source,
        bias,
        threshold=threshold,
        score=score,
        temperature=temperature,
        priority="dynamic",
    )
    found = {kind: np.asarray(labels)[0, 0].tolist() for kind, labels in found.items()}
    assert found["static"] == [0, 255, 1]
    assert found["dynamic, uncalibrated"][:2] == [0, 255]
    assert found["dynamic, calibrated"][1] == 1
    dynamic = found["dynamic, calibrated"]
    hybrid = [a if a != 255 else b for a, b in zip(dynamic, [0, 255, 1], strict=True)]
    assert found["hybrid"] == hybrid


def test_failures_begin_with_the_surest():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.95, 0.05], [0.5, 0.5]])
    labels = np.array([1, 0, 1, 1, 0])
    assert worst_failures(probabilities, labels, 9).tolist() == [3, 0, 1], "2 and 4 are right"
    assert worst_failures(probabilities, labels, 1).tolist() == [3]
    assert least_sure(probabilities, 2).tolist() == [4, 1]


def test_softmax_of_large_logits_is_finite():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0, -1000.0]])), [[0.5, 0.5, 0]])
