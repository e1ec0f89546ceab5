"""The embedded digits."""

import types

import numpy as np
import pytest

from data_pipeline import DataError, digits, load_domains


def test_the_source_holds_each_digit_equally_often():
    image_set = digits.source(seed=0, per_class=5)
    assert image_set.images.shape == (50, 32, 32, 1) and image_set.images.dtype == np.uint8
    np.testing.assert_array_equal(image_set.class_counts(), [5] * 10)


def test_a_typeset_image_depends_on_seed_class_and_position_only():
    few, many = digits.source(seed=3, per_class=2), digits.source(seed=3, per_class=6)
    np.testing.assert_array_equal(
        few.images.reshape(10, 2, 32, 32), many.images.reshape(10, 6, 32, 32)[:, :2])
    assert (few.images != digits.source(seed=4, per_class=2).images).any()


def test_no_two_typeset_images_are_equal_and_all_have_ink():
    images = digits.source(seed=0, per_class=40).images
    assert len({image.tobytes() for image in images}) == 400
    assert images.reshape(400, -1).max(axis=1).min() > 150


def test_every_listed_font_draws_ten_different_digits():
    for name in range(len(digits.FONTS)):
        variation = np.array([(name + 0.5) / len(digits.FONTS), 0.5, 0.5, 0, 0.5, 0.5], np.float32)
        drawn = {digits._typeset(text, variation, 32).tobytes() for text in digits.CLASS_NAMES}
        assert len(drawn) == 10, digits.FONTS[name]


def test_the_target_is_the_real_handwriting_in_full_contrast():
    image_set = digits.target(size=32)
    assert image_set.images.shape == (1797, 32, 32, 1) and image_set.class_names == digits.CLASS_NAMES
    np.testing.assert_array_equal(image_set.class_counts(), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    assert image_set.images.max() == 255 and not image_set.images[:, :2].any()  # the margin stays black


def test_another_size_can_be_asked_for():
    (source,), target = digits.read_domains(("type",), seed=0, per_class=1, size=28)
    assert source.images.shape[1:] == target.images.shape[1:] == (28, 28, 1)


def test_a_config_chooses_the_data_set_by_name():
    (source,), target, _ = load_domains(types.SimpleNamespace(dataset="digits", source="type", seed=0, per_class=1, size=32))
    assert (source.name, target.name) == ("digits/type", "digits/handwriting")
    with pytest.raises(DataError, match="unknown data set 'digit'; known: digits, folder"):
        load_domains(types.SimpleNamespace(dataset="digit"))
