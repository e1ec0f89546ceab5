"""The argument of a recipe, "variant,key=value,...": what it says is used, or refused in one line."""

import pytest

from configs import base

VARIANTS = {"small": ("settings", "size"), "real": ("root", "weights", "settings"), "bare": ()}
DEFAULTS = dict(root="", weights="", settings=("code", "paper"), size=64)


def parse(arg):
    return base.parse_arg(arg, VARIANTS, pretrained=("real",), **DEFAULTS)


def test_every_key_has_a_value_and_the_first_variant_is_the_default():
    assert parse(None).to_dict() == dict(variant="small", root="", weights="", settings="code", size=64)
    assert parse("size=32,settings=paper").to_dict() == dict(variant="small", root="", weights="", settings="paper", size=32)
    assert parse("real,root=a=b,weights=w.pth").to_dict() == dict(variant="real", root="a=b", weights="w.pth", settings="code", size=64)
    assert parse("real,weights=none").weights == ""


def test_names_alone_use_every_key():
    assert base.parse_arg("b,size=3", ("a", "b"), size=64).size == 3
    with pytest.raises(ValueError, match="unknown variant 'c'; known: a, b"):
        base.parse_arg("c", ("a", "b"))


@pytest.mark.parametrize("arg, message", [
    ("tiny", "unknown variant 'tiny'; known: small, real, bare"),
    ("small,colour=red", "configuration argument 'colour=red': expected key=value with a key among root, weights, settings, size"),
    ("small,real", "configuration argument 'real': expected key=value"),
    ("small,weights=w.pth", "configuration argument 'weights=w.pth': variant small does not use weights; it takes settings, size"),
    ("weights=none", "configuration argument 'weights=none': variant small does not use weights; it takes settings, size"),
    ("real,weights=w.pth,size=32", "'size=32': variant real does not use size; it takes root, weights, settings"),
    ("bare,root=", "'root=': variant bare does not use root; it takes none"),
    ("settings=papers", "'settings=papers': known: code, paper"),
    ("size=big", "'size=big': expected a value of type int"),
    ("size=", "'size=': expected a value of type int"),
    ("real", "variant real trains from pretrained weights: add weights=FILE"),
    ("real,weights=", "variant real trains from pretrained weights: add weights=FILE"),
])
def test_what_a_variant_does_not_use_is_an_error_of_one_line(arg, message):
    with pytest.raises(ValueError) as error:
        parse(arg)
    assert message in str(error.value) and "\n" not in str(error.value)
