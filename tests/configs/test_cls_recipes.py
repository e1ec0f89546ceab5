"""The classification recipes: every stage can be set up; what a folder gets, and its name."""

import jax
import jax.numpy as jnp
import pytest
import recipes
from recipes import get_config

from dajax.methods import METHODS, Sizes
from dajax.models.build import build_model
from dajax.recipes.base import tllib

PHOTOS = "root=DIR,weights=none"
RECIPES = [
    *(
        (name, argument)
        for name in recipes.NAMES
        if recipes.module(name).VARIANTS == tllib.VARIANTS
        for argument in ("digits", f"office31,{PHOTOS}", f"office31,{PHOTOS},network=can")
    ),
    ("compare_cls", "digits"),
    ("compare_cls", f"office31,{PHOTOS}"),
    ("compare_cls", f"visda2017,{PHOTOS}"),
    ("can", f"domainnet,{PHOTOS}"),
    ("can", f"office31,ablations,{PHOTOS}"),
    ("can", "tfds,source=mnist,target=svhn_cropped"),
    ("can", "folder,source=a,target=b,weights=w.pth"),
    ("mscan", "digits"),
    ("mscan", f"domainnet,{PHOTOS}"),
    ("mscan", f"office31,{PHOTOS},source=amazon+dslr"),
    ("m3sda", "digits"),
    ("m3sda", "digits_five"),
    ("m3sda", f"office31,{PHOTOS},source=amazon+dslr"),
]


def initial_state(config, stage):
    """The state that a stage begins with, as shapes."""
    method, model = METHODS[stage.method], build_model(config.model, stage, num_classes=4)
    sizes = Sizes(source=3, target=3, num_sources=len(config.data.source.split("+")))
    return jax.eval_shape(
        lambda rng, x: method.init(rng, x, config=stage, model=model, sizes=sizes),
        jax.random.key(0),
        jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32),
    )


@pytest.mark.parametrize("name, argument", RECIPES)
def test_its_stages_can_be_set_up(name, argument):
    config = get_config(name, argument)
    config.model.update(backbone="resnet_small", widths=(4, 8, 8))
    if "cdan" in config and config.cdan.randomized_dim:
        config.cdan.randomized_dim = 7
    for stage in config.stages:
        assert initial_state(config, config[stage]).params["classifier"]["backbone"], stage


def test_a_name_says_nothing_of_where_files_lie_nor_of_what_is_the_default_anyway():
    name = get_config("can", "office31,root=A,weights=/x/resnet50-19c8e357.pth").name
    assert (
        name
        == get_config(
            "can", "office31,root=B,source=amazon,target=webcam,weights=y/resnet50-19c8e357.pth"
        ).name
    )
    assert name == "can-office31-amazon-webcam-resnet50-19c8e357"
    folder = get_config("can", "folder,root=A,source=a,target=b,size=64")
    assert (
        folder == get_config("can", "folder,root=A,source=a,target=b")
        and folder.name == "can-folder-a-b"
    )


def test_a_folder_without_weights_is_trained_from_scratch_as_it_was():
    config = get_config("dann", "folder,root=DIR,source=a,target=b")
    assert (
        config.stages == ("source_only", "dann")
        and config.model.backbone == "resnet_small"
        and config.model.weights == ""
    )
    assert (
        config.data.transform.crop == "random"
        and config.data.transform.size == (64, 64)
        and config.data.transform.resize == (73, 73)
    )
    assert get_config("dann", "folder,root=DIR,source=a,target=b,weights=none") == config


def test_a_folder_with_weights_is_fine_tuned_at_the_photos_size():
    config = get_config("can", "folder,root=DIR,source=a,target=b,weights=w.pth")
    assert (
        config.stages == ("source_only", "can")
        and config.model.weights == "w.pth"
        and config.can.init_from == ""
    )
    assert config.data.transform.size == (224, 224) and config.data.transform.resize == (256, 256)
    assert (
        get_config(
            "can", "folder,root=DIR,source=a,target=b,weights=w.pth,backbone=resnet101"
        ).model.backbone
        == "resnet101"
    )


def test_ablations_are_rows_beside_can_for_every_variant():
    rows = ("can_weight0", "can_intra_only", "can")
    for argument, first in (
        ("ablations", ("source_only", "adabn")),
        ("folder,ablations,source=a,target=b", ("source_only", "adabn")),
        ("office31,ablations,weights=w.pth", ("source_only",)),
        ("visda2017,ablations,weights=w.pth", ()),
    ):
        config = get_config("can", argument)
        plain = get_config("can", argument.replace("ablations", "").replace(",,", ","))
        # of the large sets a row, and the last, since workdirs of the version before lack it
        last = ("source_only",) if argument.startswith("visda2017") else ()
        assert config.stages == (*first, *rows, *last), argument
        assert config.can == plain.can and config.data == plain.data, argument


@pytest.mark.parametrize(
    "argument",
    [
        "office31,root=a,source=amazon,target=webcam,weights=none",
        "visda2017,root=a,weights=none",
        "domainnet,root=a,source=real,target=clipart,weights=none",
    ],
)
def test_rows_that_are_compared_decay_alike(argument):
    """compare_cls promises one optimiser; SHOT's is its authors', with its own source stage."""
    config = get_config("compare_cls", argument)
    decays = {
        (config[name].optimizer.alpha, config[name].optimizer.beta)
        for name in config.stages
        if name not in ("source_only", "shot_source", "shot")
    }
    assert len(decays) == 1
