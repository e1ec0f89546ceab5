"""Batches are those of the version before the two pipelines became one: checksums of batches that
commit db17107 has made, see tests/golden/README.md.
"""

import numpy as np
import pytest
import stored_batches

# Sine, cosine and bilinear weights of TensorFlow differ between processors in their last bits: 1e-7
# of an angle moves a pixel by 1e-6, and its value, of a contrast of 2 a pixel at most, as little. A
# step of one byte is 8e-3.
WARP_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """{"case/field": values} as this version makes them."""
    return stored_batches.all_cases(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def stored():
    with np.load(stored_batches.GOLDEN) as arrays:
        return dict(arrays)


def test_the_stored_batches_reach_every_path(stored):
    cases = {key.partition("/")[0] for key in stored}
    assert len(cases) == 35 and len(stored) == 142


def test_batches_have_the_bits_that_they_had_before(made, stored):
    assert made.keys() == stored.keys()
    for key, value in stored.items():
        if key != "memory_warped/image":
            np.testing.assert_array_equal(made[key], value, err_msg=key)


def test_warped_images_are_those_of_before_but_for_the_last_bits(made, stored):
    image = stored["memory_warped/image"]
    assert image.std() > 0.3 and not image[1, 3:].any(), "there is something to see, and padding"
    np.testing.assert_allclose(made["memory_warped/image"], image, rtol=0, atol=WARP_TOLERANCE)
