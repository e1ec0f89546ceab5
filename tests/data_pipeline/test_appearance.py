"""Colour jitter and blur: deterministic, of PIL's values, applied as often as asked."""

import numpy as np
import pixel_files
import pytest
from ml_collections import ConfigDict
from PIL import Image, ImageFilter

from data_pipeline.appearance import Appearance, Blur, ColorJitter
from data_pipeline.errors import DataError

JITTER = dict(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1, probability=1.0)
BLUR = dict(sigma=(0.5, 2.0), probability=1.0)
SURE = np.zeros(Appearance.num_uniforms, np.float32)  # below every probability but 0


def appearance(**settings):
    return Appearance.from_config(
        ConfigDict({"color_jitter": None, "blur": None} | settings), "config.data.strong_view"
    )


def test_a_blur_is_pils_with_a_deviation_from_its_range():
    image = pixel_files.noise(12, 16, 3)
    for number, sigma in ((0.0, 0.5), (0.5, 1.25)):
        expected = Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma))
        found = Blur((0.5, 2.0))(image, np.array([number]))
        np.testing.assert_array_equal(found, np.asarray(expected))


def test_a_grey_image_keeps_its_shape_and_has_no_hue():
    image = pixel_files.noise(8, 9, 1)
    assert appearance(color_jitter=JITTER, blur=BLUR)(image, SURE).shape == (8, 9, 1)
    colors = ColorJitter(0.0, 0.0, 0.9, 0.5, before_geometry=False)
    np.testing.assert_array_equal(colors(image, np.full(5, 0.9)), image)


@pytest.mark.parametrize("name, settings", [("color_jitter", JITTER), ("blur", BLUR)])
def test_each_change_comes_as_often_as_its_probability_says(name, settings):
    image = pixel_files.noise(6, 6, 3)
    change = appearance(**{name: settings | {"probability": 0.25}})
    rows = np.random.default_rng(0).random((200, change.num_uniforms), dtype=np.float32)
    share = np.mean([(change(image, row) != image).any() for row in rows])
    assert abs(share - 0.25) < 0.1  # of 200 draws three deviations
    assert (appearance(**{name: settings})(image, rows[0]) != image).any()
    never = appearance(**{name: settings | {"probability": 0.0}})
    np.testing.assert_array_equal(never(image, SURE), image)


def test_jitter_comes_before_blur_and_neither_shares_its_numbers():
    image = pixel_files.noise(9, 7, 3)
    numbers = np.linspace(0.05, 0.8, Appearance.num_uniforms).astype(np.float32)
    both = appearance(color_jitter=JITTER, blur=BLUR)
    jittered = both.color_jitter(image, numbers[1:6])
    np.testing.assert_array_equal(both(image, numbers), both.blur(jittered, numbers[7:]))


@pytest.mark.parametrize(
    "settings, says",
    [
        (dict(blur=BLUR | {"sigma": (2.0, 1.0)}), r"blur.sigma is \(2, 1\) pixels"),
        (dict(blur=BLUR | {"sigma": 2.0}), "strong_view.blur.sigma is 2.0; expected two numbers"),
        (dict(blur=BLUR | {"probability": 1.5}), r"blur.probability is 1.5; expected 0..1"),
        (dict(blur={"sigma": (1.0, 2.0)}), "strong_view.blur.probability is missing"),
        (dict(color_jitter=JITTER | {"gamma": 1.0}), "color_jitter.gamma is unknown"),
        (dict(sharpness=1.0), "config.data.strong_view.sharpness is unknown"),
    ],
)
def test_a_mistake_in_the_settings_is_one_line_with_its_key(settings, says):
    with pytest.raises(DataError, match=says):
        appearance(**settings)


def test_a_group_that_is_a_value_is_named():
    with pytest.raises(DataError, match="strong_view.color_jitter is 3; expected the keys bright"):
        appearance(color_jitter=3)
