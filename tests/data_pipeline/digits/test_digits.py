"""The embedded digits."""

import hashlib
import types

import numpy as np
import pytest

from data_pipeline import DataError, load_domains
from data_pipeline.digits import sets as digits
from data_pipeline.digits import worlds as digit_worlds


def test_the_source_holds_each_digit_equally_often():
    image_set = digits.source(seed=0, per_class=5)
    assert image_set.images.shape == (50, 32, 32, 1) and image_set.images.dtype == np.uint8
    np.testing.assert_array_equal(image_set.class_counts(), [5] * 10)


@pytest.mark.parametrize("world", digit_worlds.WORLDS)
def test_an_image_depends_on_seed_class_and_position_only(world):
    few, many = digits.source(world, seed=3, per_class=2), digits.source(world, seed=3, per_class=6)
    np.testing.assert_array_equal(
        few.images.reshape(10, 2, 32, 32), many.images.reshape(10, 6, 32, 32)[:, :2]
    )
    assert (few.images != digits.source(world, seed=4, per_class=2).images).any()


def test_type_is_drawn_as_it_always_was():
    """Published figures hang on these pixels: whoever changes one makes new tables."""
    pictures = digits.source("type", seed=0, per_class=20).images
    assert (
        hashlib.sha256(pictures.tobytes()).hexdigest()
        == "cb7887db401f5bd841fe642431afb4761e4937c593f403e71298087320fa537d"
    )


@pytest.mark.parametrize("world", digit_worlds.WORLDS)
def test_no_two_rendered_images_are_equal_and_all_have_ink(world):
    images = digits.source(world, seed=0, per_class=40).images
    assert len({image.tobytes() for image in images}) == 400
    assert images.reshape(400, -1).max(axis=1).min() > 150


def test_the_worlds_look_as_they_are_called():
    """One digit in the same place: an outline has no inside, a stencil is a part of the type, a bad
    print has a ground that is not black.
    """
    numbers = np.full(2000, 0.55, np.float32)
    drawn = {
        world: digit_worlds.draw(world, "0", numbers[: digit_worlds.num_uniforms(world, 32)], 32)
        for world in digit_worlds.WORLDS
    }
    inside = drawn["type"] == 255
    assert (
        inside.sum() > 50 and drawn["outline"][inside].mean() < 30 and drawn["outline"].max() > 200
    )
    assert (drawn["stencil"] <= drawn["type"]).all() and 0.5 < drawn["stencil"].sum() / drawn[
        "type"
    ].sum() < 0.9
    assert (
        drawn["noise"].min() > 0
        and drawn["noise"][inside].mean() > 2 * drawn["noise"][~inside].mean()
    )


def test_a_world_is_drawn_from_numbers_of_its_own():
    """Other keys, so that merging worlds does not show the same font in the same place twice."""
    whole, stencil = (
        digits.source(world, seed=0, per_class=3).images > 100 for world in ("type", "stencil")
    )
    # a stencil of the same glyph would lie inside it
    is_elsewhere = (stencil & ~whole).reshape(30, -1).any(axis=1)
    assert is_elsewhere.mean() > 0.8


def test_every_listed_font_draws_ten_different_digits():
    for name in range(len(digit_worlds.FONTS)):
        variation = np.array(
            [(name + 0.5) / len(digit_worlds.FONTS), 0.5, 0.5, 0, 0.5, 0.5], np.float32
        )
        drawn = {
            digit_worlds.draw("type", text, variation, 32).tobytes() for text in digits.CLASS_NAMES
        }
        assert len(drawn) == 10, digit_worlds.FONTS[name]


def test_the_target_is_the_real_handwriting_in_full_contrast():
    image_set = digits.target(size=32)
    assert (
        image_set.images.shape == (1797, 32, 32, 1) and image_set.class_names == digits.CLASS_NAMES
    )
    np.testing.assert_array_equal(
        image_set.class_counts(), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    )
    # the margin stays black
    assert image_set.images.max() == 255 and not image_set.images[:, :2].any()


def test_another_size_can_be_asked_for():
    (source,), target = digits.read_domains(("type",), seed=0, per_class=1, size=28)
    assert source.images.shape[1:] == target.images.shape[1:] == (28, 28, 1)


def test_a_config_chooses_the_data_set_by_name():
    (source,), target, _ = load_domains(
        types.SimpleNamespace(dataset="digits", source="type", seed=0, per_class=1, size=32)
    )
    assert (source.name, target.name) == ("digits/type", "digits/handwriting")
    with pytest.raises(DataError, match="unknown data set 'digit'; known: digits, folder"):
        load_domains(types.SimpleNamespace(dataset="digit"))


def test_several_worlds_come_as_several_sources():
    config = types.SimpleNamespace(
        dataset="digits", source="type+outline+stencil+noise", seed=0, per_class=1, size=32
    )
    assert [one.name for one in load_domains(config).sources] == [
        "digits/type",
        "digits/outline",
        "digits/stencil",
        "digits/noise",
    ]
    config.source = "type+outlines"
    with pytest.raises(
        DataError, match="no world 'outlines'; known: type, outline, stencil, noise"
    ):
        load_domains(config)
