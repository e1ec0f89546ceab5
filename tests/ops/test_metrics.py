"""Accuracies against the authors' code (can_metric.npz), and where images or classes lack."""

import jax
import jax.numpy as jnp
import numpy as np

from dajax.ops.metrics import classification_report, confusion_matrix


def test_accuracies_are_the_authors(golden):
    cases = golden("can_metric")
    assert cases
    for case in cases.values():
        num_classes = case["logits"].shape[1]
        predictions = jnp.asarray(case["logits"]).argmax(1).astype(jnp.int32)
        confusion = jax.jit(confusion_matrix, static_argnums=3)(
            jnp.asarray(case["labels"]), predictions, jnp.ones(predictions.shape, bool), num_classes
        )
        report = classification_report(confusion, [str(i) for i in range(num_classes)])
        np.testing.assert_allclose(report["accuracy"], case["accuracy"], atol=1e-4)
        np.testing.assert_allclose(report["mean_class_accuracy"], case["mean_accuracy"], atol=1e-4)


def test_padding_and_unknown_labels_count_nowhere():
    labels, predictions = jnp.asarray([0, 1, 1, -1, 2]), jnp.asarray([0, 1, 0, 0, 1])
    mask = jnp.asarray([True, True, False, True, True])
    np.testing.assert_array_equal(
        confusion_matrix(labels, predictions, mask, 3), [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    )


def test_a_class_without_images_is_left_out_of_the_mean():
    report = classification_report(np.array([[3, 1], [0, 0]]), ["a", "b"])
    assert report == {
        "accuracy": 75.0,
        "mean_class_accuracy": 75.0,
        "per_class": {"a": 75.0, "b": None},
    }
