"""The similarity of a chosen pixel to all others."""

import numpy as np
import pytest

from dajax.analysis.similarity_maps import pixel_inside, similarity_map


def test_the_map_is_the_normalised_cosine():
    """Cosines 1, 0 and -1 have mean 0 and deviation 1; lengths do not matter."""
    features = np.array([[[2.0, 0.0], [0.0, 1.0]]], np.float32)
    others = np.array([[[5.0, 0.0]], [[0.0, 3.0]], [[-1.0, 0.0]]], np.float32)
    found = similarity_map(features, (0, 0), others)
    assert found.shape == (3, 1)
    np.testing.assert_allclose(found[:, 0], [1, 0, -1], atol=1e-6)


def test_alike_pixels_have_no_contrast():
    same = np.ones((2, 2, 3), np.float32)
    np.testing.assert_array_equal(similarity_map(same, (1, 1), same), np.zeros((2, 2)))


def test_the_chosen_pixel_is_the_middle_of_its_class():
    labels = np.zeros((7, 9), int)
    labels[1:6, 2:7] = 3
    labels[0, 0] = 3
    assert pixel_inside(labels, 3) == (3, 4)
    with pytest.raises(ValueError, match="no pixel of class 4"):
        pixel_inside(labels, 4)
