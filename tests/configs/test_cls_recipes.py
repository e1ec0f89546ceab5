"""The classification recipes: every stage can be set up, every argument is used or refused, and no
two runs share a name.
"""

import importlib

import jax
import jax.numpy as jnp
import pytest

from dajax.methods import METHODS, Sizes
from dajax.models.build import build_model
from dajax.recipes.base import classification as cls_base

PHOTOS = "root=DIR,weights=none"
ONE_SOURCE = [
    (name, f"{variant}{network}")
    for name in cls_base.BASELINES
    for variant, network in (
        ("digits", ""),
        (f"office31,{PHOTOS}", ""),
        (f"office31,{PHOTOS}", ",network=can"),
    )
]
RECIPES = [
    *ONE_SOURCE,
    ("compare_cls", "digits"),
    ("compare_cls", f"office31,{PHOTOS}"),
    ("compare_cls", f"visda2017,{PHOTOS}"),
    ("can", f"domainnet,{PHOTOS}"),
    ("can", "tfds,source=mnist,target=svhn_cropped"),
    ("can", "folder,source=a,target=b,weights=w.pth"),
    ("mscan", "digits"),
    ("mscan", f"domainnet,{PHOTOS}"),
    ("mscan", f"office31,{PHOTOS},source=amazon+dslr"),
]
ALL = ("can", "mscan", "compare_cls", *cls_base.BASELINES)


def get_config(name, argument):
    return importlib.import_module(f"dajax.recipes.{name}").get_config(argument)


@pytest.mark.parametrize("name, argument", RECIPES)
def test_its_stages_can_be_set_up(name, argument):
    config = get_config(name, argument)
    config.model.update(backbone="resnet_small", widths=(4, 8, 8))
    if "cdan" in config and config.cdan.randomized_dim:
        config.cdan.randomized_dim = 7
    sizes = Sizes(source=3, target=3, num_sources=len(config.data.source.split("+")))
    images = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
    for stage in (config[stage] for stage in config.stages):
        method, model = METHODS[stage.method], build_model(config.model, stage, num_classes=4)
        state = jax.eval_shape(
            lambda rng, x: method.init(rng, x, config=stage, model=model, sizes=sizes),
            jax.random.key(0),
            images,
        )
        assert state.params["classifier"]["backbone"]
    assert "/" not in config.name and ":" not in config.name, "names the workdir"


IGNORED = [
    ("can", "digits,weights=w.pth", "variant digits does not use weights; it takes source"),
    ("can", "digits,weights=none", "variant digits does not use weights"),
    ("can", "digits,target=foo", "variant digits does not use target"),
    ("can", "target=foo", "variant digits does not use target"),
    ("can", "digits,root=DIR", "variant digits does not use root"),
    ("can", "digits,size=64", "variant digits does not use size"),
    ("can", "ablations,weights=w.pth", "variant ablations does not use weights; it takes source"),
    (
        "can",
        "office31,root=DIR,weights=w.pth,size=64",
        "variant office31 does not use size; it takes root, source, target, weights",
    ),
    ("can", "visda2017,root=DIR,weights=w.pth,size=64", "variant visda2017 does not use size"),
    (
        "can",
        "domainnet,root=DIR,weights=w.pth,backbone=resnet50",
        "variant domainnet does not use backbone",
    ),
    (
        "can",
        "folder,root=DIR,source=a,target=b,backbone=resnet101",
        "variant folder uses backbone with weights=FILE only",
    ),
    (
        "can",
        "tfds,source=a,target=b,weights=none,backbone=resnet50",
        "variant tfds uses backbone with weights=FILE only",
    ),
    ("can", "folder,weights=w.pth,backbone=vgg", "known: , resnet50, resnet101"),
    ("can", "folder,size=-8", "expected pixels, above 0"),
    ("can", "folder,size=big", "expected a value of type int"),
    ("can", "digits,network=can", "expected key=value with a key among root, source, target"),
    ("mscan", "network=own", "expected key=value with a key among root, source, target"),
    (
        "compare_cls",
        "digits,network=own",
        "expected key=value with a key among root, source, target",
    ),
    ("mscan", "ablations", "unknown variant 'ablations'; known: digits, folder"),
    ("dann", "digits,network=cans", "known: own, can"),
    ("dann", "digits,target=foo", "variant digits does not use target; it takes source, network"),
    *(
        (name, f"{variant},root=DIR", "add weights=FILE")
        for name in ALL
        for variant in cls_base.PRETRAINED
    ),
]


@pytest.mark.parametrize("name, argument, message", IGNORED)
def test_what_a_variant_does_not_use_is_refused_in_one_line(name, argument, message):
    with pytest.raises(ValueError) as error:
        get_config(name, argument)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "key, value",
    [
        ("weights", "w.pth"),
        ("weights", "none"),
        ("source", "stencil"),
        ("root", "DIR"),
        ("size", "48"),
        ("target", "dslr"),
        ("backbone", "resnet101"),
        ("network", "can"),
    ],
)
@pytest.mark.parametrize("name", ["can", "dann", "compare_cls"])
def test_an_argument_changes_the_config_or_is_refused(name, key, value):
    """Of every variant: nothing is taken and ignored."""
    for variant in cls_base.USES:
        basis = f"{variant},source=amazon,target=webcam" if variant != "digits" else variant
        if variant in cls_base.PRETRAINED or key == "backbone" and variant != "digits":
            basis += ",weights=other.pth"
        try:
            changed = get_config(name, f"{basis},{key}={value}")
        except ValueError as error:
            assert f"does not use {key}" in str(
                error
            ) or "expected key=value with a key among" in str(error)
            continue
        nothing_to_change = (key, value) == (
            "weights",
            "none",
        ) and variant not in cls_base.PRETRAINED
        assert (changed == get_config(name, basis)) == nothing_to_change, (variant, key)


OTHERS = {  # variant: arguments each of which is another run
    "digits": ("", "source=stencil", "source=stencil+noise", "network=can"),
    "folder": (
        "source=a,target=b",
        "source=b,target=a",
        "source=a,target=b,size=32",
        "source=a,target=b,network=can",
        "source=a,target=b,weights=w.pth",
        "source=a,target=b,weights=v.pth",
        "source=a,target=b,weights=w.pth,backbone=resnet101",
        "source=a,target=b,weights=w.pth,size=128",
        "source=a,target=b,weights=w.pth,network=can",
    ),
    "office31": (
        "weights=none",
        "weights=w.pth",
        "weights=w.pth,source=dslr",
        "weights=w.pth,target=dslr",
        "weights=w.pth,network=can",
    ),
    "visda2017": (
        "weights=none",
        "weights=w.pth",
        "weights=w.pth,source=validation",
        "weights=w.pth,target=test",
    ),
    "domainnet": (
        "weights=w.pth",
        "weights=w.pth,source=real",
        "weights=w.pth,target=real",
        "weights=w.pth,source=real+sketch",
    ),
}


def test_no_two_runs_share_a_name():
    names = [
        get_config("dann", f"{variant},{argument}").name
        for variant, arguments in OTHERS.items()
        for argument in arguments
    ]
    assert len(set(names)) == len(names), sorted(names)
    assert not any(character in name for name in names for character in "/:\\ ")
    assert (
        get_config("can", None).name == "can-digits"
        and get_config("can", "ablations").name == "can-ablations"
    )


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
