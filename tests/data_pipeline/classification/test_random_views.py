"""What is drawn for a training image beyond crop, flip and affine map: its negative, a rectangle
that is erased, and nothing at all where a probability is 0.
"""

import dataclasses

import numpy as np
import pytest

from data_pipeline import DataError
from data_pipeline.classification.transforms import Affine, Erase, Transform, from_config
from data_pipeline.classification.warp import warp_and_normalise
from data_pipeline.stream import tf

PLAIN = Transform((20, 24), mean=(0.25,), std=(0.5,))
OFF = dict(
    affine=dict(rotate_rad=0.0, shear=0.0, scale=0.0, shift_px=0.0),
    appearance=dict(
        color_jitter=dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, probability=0.0),
        blur=dict(sigma=(0.1, 2.0), probability=0.0),
    ),
    invert=0.0,
    erase=dict(probability=0.0, area=(0.02, 0.33), ratio=(0.3, 3.3)),
)
CONFIG = dict(size=(20, 24), resize=None, crop="random", flip=True, mean=(0.25,), std=(0.5,))


def images(number, channels=3):
    return np.random.default_rng(0).integers(0, 256, (number, 20, 24, channels), dtype=np.uint8)


def drawn(transform, number):
    return np.random.default_rng(1).random((number, transform.num_uniforms), dtype=np.float32)


def scaled(values):
    return (values / np.float32(255) - np.float32(0.25)) / np.float32(0.5)


def test_a_view_of_probability_0_consumes_no_random_number():
    """So a recipe that can set every view draws what one without them drew."""
    without = from_config(CONFIG | dict(affine=None))
    assert from_config(CONFIG | OFF) == without and without.num_uniforms == 3


@pytest.mark.parametrize(
    "change, columns",
    [
        (dict(affine=OFF["affine"] | dict(shear=0.1)), 6),
        (dict(invert=0.5), 1),
        (dict(erase=OFF["erase"] | dict(probability=0.5)), 23),
        (dict(appearance=OFF["appearance"] | dict(blur=dict(sigma=(1, 2), probability=1.0))), 8),
    ],
)
def test_each_view_is_on_by_its_own_keys_alone(change, columns):
    transform = from_config(CONFIG | OFF | change)
    assert transform.num_uniforms == 3 + columns
    assert transform.for_evaluation().num_uniforms == 0


def test_an_inverted_image_is_its_negative_and_the_others_stay():
    transform, chosen = dataclasses.replace(PLAIN, invert=0.3), images(3)
    numbers = np.array([[0.29], [0.3], [0.0]], np.float32)
    found = warp_and_normalise(chosen, numbers, transform).numpy()
    for image, original, is_inverted in zip(found, chosen, (True, False, True), strict=True):
        expected = scaled((255 - original if is_inverted else original).astype(np.float32))
        np.testing.assert_allclose(image, expected, atol=1e-6)  # float32 rounding


def rectangle_of(image, original):
    """(height, width, area) of what is 0 in place of the original."""
    rows, columns = np.nonzero((image != original).any(axis=-1))
    if not len(rows):
        return None
    (top, bottom), (left, right) = ((at.min(), at.max() + 1) for at in (rows, columns))
    assert (image[top:bottom, left:right] == 0).all(), "the mean, wherever it is erased"
    return bottom - top, right - left


def test_a_share_of_the_images_loses_a_rectangle_within_the_bounds():
    transform = dataclasses.replace(PLAIN, erase=Erase(0.5, area=(0.1, 0.3), ratio=(0.5, 2.0)))
    chosen = np.full((400, 20, 24, 3), 255, np.uint8)
    originals = scaled(chosen.astype(np.float32))
    found = warp_and_normalise(chosen, drawn(transform, 400), transform).numpy()
    sizes = [rectangle_of(*pair) for pair in zip(found, originals, strict=True)]
    erased = np.array([size for size in sizes if size is not None])
    assert 0.4 < len(erased) / 400 < 0.6
    # half a pixel is rounded away on either side
    assert ((erased - 0.5).prod(axis=1) <= 0.3 * 480).all()
    assert ((erased + 0.5).prod(axis=1) >= 0.1 * 480).all()
    ratios = (erased[:, 0] - 0.5) / (erased[:, 1] + 0.5)
    assert ratios.max() <= 2.0 and ratios.min() < 0.6 and len(np.unique(erased, axis=0)) > 20


def test_a_rectangle_reaches_every_corner_and_nothing_is_erased_where_none_fits():
    transform = dataclasses.replace(PLAIN, erase=Erase(1.0, area=(0.25, 0.25), ratio=(1.0, 1.0)))
    white, almost_one = np.full((1, 20, 24, 1), 255, np.uint8), np.float32(1 - 2**-24)
    side = round((480 / 4) ** 0.5)
    for top, left in ((0, 0), (1, 0), (0, 1), (1, 1)):
        numbers = np.zeros((1, 23), np.float32)
        numbers[0, 1:3] = top * almost_one, left * almost_one
        image = warp_and_normalise(white, numbers, transform).numpy()[0, :, :, 0]
        expected = np.full((20, 24), scaled(np.float32(255)))
        at_row, at_column = top * (20 - side), left * (24 - side)
        expected[at_row : at_row + side, at_column : at_column + side] = 0
        np.testing.assert_array_equal(image, expected)
    whole = dataclasses.replace(PLAIN, erase=Erase(1.0, area=(1.0, 1.0), ratio=(1.0, 1.0)))
    numbers = np.zeros((1, 23), np.float32)
    assert warp_and_normalise(white, numbers, whole).numpy().all(), "22 x 22 pixels do not fit"


def test_all_views_together_are_the_same_eagerly_and_inside_tf_data():
    transform = dataclasses.replace(
        PLAIN,
        affine=Affine(0.3, 0.2, 0.1, 2.0),
        invert=0.5,
        erase=Erase(0.5, area=(0.02, 0.33), ratio=(0.3, 3.3)),
    )
    chosen, numbers = images(6), drawn(transform, 6)
    dataset = tf.data.Dataset.from_tensors((chosen, numbers)).map(
        lambda x, u: warp_and_normalise(x, u, transform)
    )
    together = warp_and_normalise(chosen, numbers, transform)
    np.testing.assert_array_equal(next(dataset.as_numpy_iterator()), together)
    without = dataclasses.replace(transform, invert=0.0, erase=None)
    np.testing.assert_array_equal(
        warp_and_normalise(chosen, numbers, without),
        warp_and_normalise(chosen, numbers[:, :6], without),
        "the affine map's numbers are the first",
    )


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(invert=1.5), r"transform.invert is 1.5; expected a share, 0..1"),
        (dict(erase=OFF["erase"] | dict(probability=-1)), "transform.erase.probability is -1"),
        (dict(erase=OFF["erase"] | dict(area=(0.5, 0.2))), r"area is \(0.5, 0.2\); expected 0 <"),
        (dict(erase=OFF["erase"] | dict(ratio=2.0)), "erase.ratio is 2.0; expected two numbers"),
        (dict(erase=dict(share=1.0)), "transform.erase.probability is missing"),
    ],
)
def test_values_that_cannot_be_are_refused_by_key(change, message):
    with pytest.raises(DataError, match=message):
        from_config(CONFIG | OFF | change)
