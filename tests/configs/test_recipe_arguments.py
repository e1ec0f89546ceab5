"""The argument of a recipe, "variant,key=value,...": what it says is used, or refused in one line."""

import importlib

import pytest

from dajax.recipes import can
from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import common as base

VARIANTS = {"small": ("settings", "size"), "real": ("root", "weights", "settings"), "bare": ()}
DEFAULTS = dict(root="", weights="", settings=("code", "paper"), size=64)


def parse(arg):
    return base.parse_arg(arg, VARIANTS, pretrained=("real",), **DEFAULTS)


def test_every_key_has_a_value_and_the_first_variant_is_the_default():
    assert parse(None).to_dict() == dict(
        variant="small", root="", weights="", settings="code", size=64
    )
    assert parse("size=32,settings=paper").to_dict() == dict(
        variant="small", root="", weights="", settings="paper", size=32
    )
    assert parse("real,root=a=b,weights=w.pth").to_dict() == dict(
        variant="real", root="a=b", weights="w.pth", settings="code", size=64
    )
    assert parse("real,weights=none").weights == ""


def test_names_alone_use_every_key():
    assert base.parse_arg("b,size=3", ("a", "b"), size=64).size == 3
    with pytest.raises(ValueError, match="unknown variant 'c'; known: a, b"):
        base.parse_arg("c", ("a", "b"))


@pytest.mark.parametrize(
    "arg, message",
    [
        ("tiny", "unknown variant 'tiny'; known: small, real, bare"),
        (
            "small,colour=red",
            (
                "configuration argument 'colour=red': expected key=value with a key among root,"
                " weights, settings, size"
            ),
        ),
        ("small,real", "configuration argument 'real': expected key=value"),
        (
            "small,weights=w.pth",
            (
                "configuration argument 'weights=w.pth': variant small does not use weights; it"
                " takes settings, size"
            ),
        ),
        (
            "weights=none",
            (
                "configuration argument 'weights=none': variant small does not use weights; it"
                " takes settings, size"
            ),
        ),
        (
            "real,weights=w.pth,size=32",
            "'size=32': variant real does not use size; it takes root, weights, settings",
        ),
        ("bare,root=", "'root=': variant bare does not use root; it takes none"),
        ("settings=papers", "'settings=papers': known: code, paper"),
        ("size=big", "'size=big': expected a value of type int"),
        ("size=", "'size=': expected a value of type int"),
        ("real", "variant real trains from pretrained weights: add weights=FILE"),
        ("real,weights=", "variant real trains from pretrained weights: add weights=FILE"),
    ],
)
def test_what_a_variant_does_not_use_is_an_error_of_one_line(arg, message):
    with pytest.raises(ValueError) as error:
        parse(arg)
    assert message in str(error.value) and "\n" not in str(error.value)


# {key: (a value, another, neither of them a default)}
OTHER_VALUES = dict(
    root=("A", "B"),
    source=("dslr+amazon", "dslr+webcam"),
    target=("dslr", "amazon"),
    weights=("a.pth", "x/b.pth"),
    backbone=("resnet101", "resnet50"),
    size=("96", "128"),
    network=("can", "own"),
    settings=("paper", "code"),
    levels=("multi", "single"),
    gan=("least_squares", "vanilla"),
    density=("0.343", "0.3430000001"),
)
BASELINES = ("dann", "cdan", "dan", "jan", "mcd")
SEGMENTATION = ("adaptsegnet", "bicl", "clan", "plca", "source_only_seg", "spcl")
TABLES = (
    {"can": can.USES, "mscan": cls_base.USES, "compare_cls": cls_base.USES}
    | dict.fromkeys(BASELINES, {name: (*keys, "network") for name, keys in cls_base.USES.items()})
    | {name: importlib.import_module(f"dajax.recipes.{name}").VARIANTS for name in SEGMENTATION}
    | {"compare_seg": {"scenes": ()}}
)
# These say where files lie; a segmentation's source and target are folders.
PLACES = {(name, "root") for name in TABLES} | {
    (name, key) for name in SEGMENTATION for key in ("source", "target")
}


def given(recipe, variant, **values):
    """The recipe's config with these arguments, and what else its variant needs."""
    keys = TABLES[recipe][variant]
    needed = {"source": "amazon+webcam", "target": "webcam", "weights": "w.pth"}
    values = {key: value for key, value in needed.items() if key in keys} | values
    arg = ",".join([variant, *(f"{key}={value}" for key, value in values.items())])
    config = importlib.import_module(f"dajax.recipes.{recipe}").get_config(arg)
    content = config.copy_and_resolve_references().to_dict()
    return content.pop("name"), content


@pytest.mark.parametrize(
    "recipe, variant", [(name, variant) for name, table in TABLES.items() for variant in table]
)
def test_every_argument_is_used_and_named_or_refused(recipe, variant):
    """What changes nothing is refused; what changes data or network has a workdir of its own."""
    settings = {"settings": ("code", "slides")} if recipe == "bicl" else {}
    for key, values in (OTHER_VALUES | settings).items():
        if key not in TABLES[recipe][variant]:
            with pytest.raises(ValueError, match=f"'{key}=.*'") as error:
                given(recipe, variant, **{key: values[0]})
            assert "\n" not in str(error.value)
            continue
        (name, content), (other_name, other) = (
            given(recipe, variant, **{key: value}) for value in values
        )
        assert content != other, f"{key} changes nothing"
        assert ((recipe, key) in PLACES) == (name == other_name), key


@pytest.mark.parametrize(
    "recipe, variant",
    [
        ("can", "office31"),
        ("dann", "folder"),
        ("clan", "gta5_to_cityscapes"),
        ("adaptsegnet", "synthia_to_cityscapes"),
        ("spcl", "synscapes_to_cityscapes"),
    ],
)
def test_the_workdir_is_named_after_the_file_of_weights_and_not_after_its_folder(recipe, variant):
    names = {
        weights: given(recipe, variant, weights=weights)[0]
        for weights in ("none", "a/w.pth", "b/w.pth", "v.pth")
    }
    assert names["a/w.pth"] == names["b/w.pth"] and names["a/w.pth"].endswith("-w")
    assert len(set(names.values())) == 3
