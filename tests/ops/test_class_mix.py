"""ClassMix against the authors' masks and images (sota_classmix.npz), and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import channels_last, ints

from dajax.ops import class_mix
from dajax.ops.labels import IGNORED


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("sota_classmix")[""]


def present_in(labels):
    """bool [N, K + 1] of K classes, as many as the labels need."""
    mask, num_classes = jnp.ones(len(labels), bool), 1 + int(labels[labels != IGNORED].max())
    return class_mix.classes_present(labels, mask, num_classes=num_classes)


def scores_of(chosen, present):
    """float32 [1, K + 1] for which the chosen classes win."""
    scores = np.zeros((1, present.shape[-1]), np.float32)
    scores[0, np.where(chosen == IGNORED, -1, chosen)] = 1.0
    return jnp.asarray(scores)


def as_labels(present):
    """bool [K + 1] -> ascending labels, 255 for pixels without a class."""
    (classes,) = np.nonzero(np.asarray(present))
    return np.where(classes == len(present) - 1, IGNORED, classes)


def test_masks_images_labels_and_weights_are_daformers(arrays):
    """Half of the classes of the whole batch, 255 among them, for each image."""
    labels = ints(arrays["source_label"])
    of_batch = present_in(labels).any(0)
    np.testing.assert_array_equal(as_labels(of_batch), np.sort(arrays["batch_classes"]))
    source, target = (channels_last(arrays[f"{domain}_image"]) for domain in ("source", "target"))
    pseudo, weights = ints(arrays["pseudo_label"]), jnp.asarray(arrays["pseudo_weight"])
    for i in range(len(labels)):
        row = slice(i, i + 1)
        chosen = class_mix.choose_half(of_batch[None], scores_of(arrays[f"chosen_{i}"], of_batch))
        np.testing.assert_array_equal(as_labels(chosen[0]), np.sort(arrays[f"chosen_{i}"]))
        pasted = class_mix.pixels_of(chosen, labels[row])
        np.testing.assert_array_equal(pasted[0], arrays[f"mask_{i}"])
        image = class_mix.paste(pasted, source[row], target[row])
        np.testing.assert_array_equal(np.moveaxis(image[0], -1, 0), arrays[f"mixed_image_{i}"])
        label = class_mix.paste(pasted, labels[row], pseudo[row])
        np.testing.assert_array_equal(label[0], arrays[f"mixed_label_{i}"])
        weight = class_mix.paste(pasted, jnp.ones_like(weights[row]), weights[row])
        np.testing.assert_array_equal(weight[0], arrays[f"mixed_weight_{i}"])


def test_masks_of_an_images_own_classes_are_dacs(arrays):
    labels = ints(arrays["source_label"])
    present = present_in(labels)
    for i in range(len(labels)):
        expected = np.sort(arrays[f"dacs_image_classes_{i}"])
        np.testing.assert_array_equal(as_labels(present[i]), expected)
        scores = scores_of(arrays[f"dacs_chosen_{i}"], present)
        chosen = class_mix.choose_half(present[i : i + 1], scores)
        pasted = class_mix.pixels_of(chosen, labels[i : i + 1])
        np.testing.assert_array_equal(pasted[0], arrays[f"dacs_mask_{i}"])


def test_as_many_classes_are_chosen_as_by_the_authors(arrays):
    counts = arrays["count_of_classes"]
    present = jnp.arange(counts.max())[None] < counts[:, None]
    scores = jax.random.uniform(jax.random.key(0), present.shape)
    chosen = jax.jit(class_mix.choose_half)(present, scores)
    np.testing.assert_array_equal(chosen.sum(1), arrays["count_chosen"])
    assert not (chosen & ~present).any()


def test_with_random_scores_every_class_is_chosen_as_often_as_another():
    present = jnp.array([[True, True, False, True, True]] * 4000)
    chosen = class_mix.choose_half(present, jax.random.uniform(jax.random.key(0), present.shape))
    shares = np.asarray(chosen.mean(0))
    assert shares[2] == 0 and (chosen.sum(1) == 2).all()
    # of 4,000 draws at 1/2: five deviations
    np.testing.assert_allclose(shares[[0, 1, 3, 4]], 0.5, atol=5 * 0.5 / np.sqrt(4000))


def test_a_row_that_does_not_count_has_no_class_and_pastes_nothing():
    labels = jnp.array([[[0, 1]], [[1, IGNORED]]], jnp.int32)
    present = class_mix.classes_present(labels, jnp.array([False, True]), num_classes=2)
    np.testing.assert_array_equal(present, [[False] * 3, [False, True, True]])
    chosen = class_mix.choose_half(present, jnp.ones((2, 3)))
    np.testing.assert_array_equal(chosen, [[False] * 3, [False, True, False]])
    np.testing.assert_array_equal(
        class_mix.pixels_of(chosen, labels), [[[False, False]], [[True, False]]]
    )
