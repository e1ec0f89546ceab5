"""The random views of training images as arguments of a recipe, and as settings of the command
line.
"""

import pytest
import recipes
import tiny

from dajax.cli import recipe
from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import common as base

FOLDER = "folder,root=DIR,source=a,target=b"
# Those whose network and views are CAN's or tllib's, and have no sources of their own to name.
WITH_FOLDERS = [
    name
    for name in recipes.NAMES
    if "folder" in recipes.module(name).VARIANTS and name not in ("mscan", "m3sda")
]


def transform_of(*views, name="can", variant=FOLDER):
    return recipes.get_config(name, ",".join([variant, *views])).data.transform


def test_affine_gives_the_ranges_of_the_embedded_digits_at_the_size_of_the_images():
    digits = recipes.get_config("can", "digits").data.transform.affine
    assert digits.to_dict() == dict(rotate_rad=0.25, shear=0.3, scale=0.2, shift_px=2.0)
    assert transform_of("affine=yes", "size=32").affine == digits
    larger = transform_of("affine=true", "size=64").affine
    assert larger.to_dict() == digits.to_dict() | dict(shift_px=4.0)
    assert not any(transform_of("affine=no").affine.values())


def test_each_view_changes_its_own_keys_and_nothing_else():
    plain = transform_of().to_dict()
    assert plain["flip"] is True and plain["invert"] == plain["erase"]["probability"] == 0.0
    jitter = dict(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05, probability=0.8)
    for argument, changed in (
        ("flip=no", dict(flip=False)),
        ("jitter=0.2", dict(appearance=plain["appearance"] | dict(color_jitter=jitter))),
        ("invert=yes", dict(invert=0.5)),
        ("erase=0.25", dict(erase=plain["erase"] | dict(probability=0.25))),
    ):
        assert transform_of(argument).to_dict() == plain | changed, argument
    none = transform_of("flip=yes", "affine=false", "jitter=0", "invert=no", "erase=NO")
    assert none.to_dict() == plain


@pytest.mark.parametrize("name", WITH_FOLDERS)
def test_every_recipe_of_folders_takes_the_views(name):
    chosen = ("flip=no", "affine=yes", "jitter=yes", "invert=0.1", "erase=yes")
    for variant in (FOLDER, "tfds,source=mnist,target=usps", f"{FOLDER},weights=w.pth"):
        found = transform_of(*chosen, name=name, variant=variant)
        assert not found.flip and found.invert == 0.1 and found.erase.probability == 0.5
        assert found.affine.shift_px == found.size[0] / 16
        assert found.appearance.color_jitter.probability == 0.8
    config = recipes.get_config(name, f"{FOLDER},{','.join(chosen)}")
    plain = recipes.get_config(name, FOLDER)
    assert config.name == f"{plain.name}-flip_no-affine-jitter0.4-invert0.1-erase0.5"


@pytest.mark.parametrize(
    "argument, message",
    [
        ("flip=maybe", "'flip=maybe': expected yes or no"),
        ("affine=0.5", "'affine=0.5': expected yes or no"),
        ("jitter=3", "'jitter=3': expected yes or no (0.4 or 0), or a strength from 0 to 2"),
        ("invert=-0.5", "'invert=-0.5': expected yes or no (0.5 or 0), or a share of the images"),
        ("erase=1.5", "(0.5 or 0), or a share of the images from 0 to 1"),
        ("erase=nan", "'erase=nan': expected yes or no"),
    ],
)
def test_a_value_that_says_nothing_is_one_line(argument, message):
    with pytest.raises(ValueError) as error:
        transform_of(argument)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("variant", ["digits", *cls_base.PRETRAINED])
@pytest.mark.parametrize("key", ["flip", "affine", "jitter", "invert", "erase"])
def test_a_variant_with_settings_of_its_own_refuses_them(variant, key):
    weights = "" if variant == "digits" else "weights=none,"
    with pytest.raises(ValueError, match=f"variant {variant} does not use {key}; it takes"):
        recipes.get_config("can", f"{variant},{weights}{key}=no")


@pytest.mark.parametrize("argument", ["can", f"can:{FOLDER}", "dann:office31,weights=none"])
def test_every_view_can_be_set_on_the_command_line(argument):
    """A key that is None or absent could not: it has no kind for the command line to go by."""
    name, _, variant = argument.partition(":")
    words = {
        "affine.rotate_rad": "0.1",
        "appearance.color_jitter.probability": "1",
        "appearance.blur.sigma": "(1.0,2.0)",
        "invert": "0.25",
        "erase.area": "(0.1,0.2)",
        "resize": "(48,48)",
        "flip": "true",
    }
    if name == "can":  # tllib's is a group
        words["crop"] = "center"
    overrides = [f"--config.data.transform.{key}={value}" for key, value in words.items()]
    config = recipe.read(f"{tiny.ROOT}/configs/{name}.py:{variant}", overrides)
    found = config.data.transform
    assert found.affine.rotate_rad == 0.1 and found.appearance.blur.sigma == (1.0, 2.0)
    assert found.resize == (48, 48) and found.flip is True and found.erase.area == (0.1, 0.2)
    assert found.crop == words.get("crop", found.crop)


def test_the_embedded_digits_keep_their_views():
    found = base.digits()["transform"]
    assert found["flip"] is False and found["invert"] == found["erase"]["probability"] == 0.0
    assert found["appearance"]["color_jitter"]["probability"] == 0.0
