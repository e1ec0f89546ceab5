"""Every word of a config that code compares with known ones: a wrong one is one line that names the
stage and the key, before anything is spent.
"""

import functools
import json
import re
import types

import in_process
import jax
import pytest
import tiny
from ml_collections import ConfigDict
from recipes import NAMES

from dajax import tasks
from dajax.cli import recipe
from dajax.engine import opening, stage_checks
from dajax.engine.config_check import flatten
from dajax.engine.signals import StopFlag
from dajax.errors import UserError
from dajax.methods import METHODS
from dajax.settings import SettingError, choice, part_of_config
from dajax.tasks.classification import setup as classification
from dajax.tasks.segmentation import setup as segmentation

# All of them, but for the tables of several methods, which have no words of their own.
RECIPES = (
    "adaptsegnet:scenes,levels=multi",
    *(name for name in NAMES if name not in ("adaptsegnet", "compare_cls", "compare_seg")),
)
# Names, places, patterns of parameters, and what the tasks look up in the data.
FREE = re.compile(
    r"(name|task|metric|stages|runtime\..*|data\..*|model\.weights"
    r"|\w+\.(method|init_from|labels_from|transform|domain|.*lr_multipliers|.*repeats))"
)


# Words of the network itself; for the others one that is traced at once will do.
OF_THE_NETWORK = re.compile(r"model\..*|\w+\.(stop_gradient_after|norm|norm_affine)")


@functools.cache
def as_json(name):
    path, colon, argument = name.partition(":")
    return recipe.read(f"{tiny.ROOT}/configs/{path}.py{colon}{argument}", ()).to_json()


def read(name):
    """A fresh copy of a recipe's config."""
    return ConfigDict(json.loads(as_json(name)))


def words():
    """{(method or "", key below the stage): (recipe, whole key)} of every word of every recipe."""
    found = {}
    for name in RECIPES:
        config = read(name)
        for key, value in flatten(config.to_dict()).items():
            if isinstance(value, str) and not FREE.fullmatch(key):
                stage, _, rest = key.partition(".")
                method = config[stage].get("method", config.task)
                found.setdefault((method, rest), (name, key))
    return found


WORDS = words()
SHALLOW = in_process.shallow(segmentation.build_segmenter)


def begin(config, name):
    """All that happens to a stage before its first step, but for opening the data."""
    stage_checks.check_before_data(config)
    task = types.SimpleNamespace(
        build_model=tasks.get(config.task).build_model, make_feed=lambda *_, **__: None
    )
    images = [None] * 8
    sources = config.data.source.split("+") if config.task == "classification" else ()
    domains = types.SimpleNamespace(
        source=images,
        target=images,
        sources=(images,) * len(sources),
        image_shape=(32, 32, 3),
        class_names=("a", "b", "c"),
    )
    devices = jax.devices()[:1]
    return opening._make_stage(config, name, tiny.ROOT, devices, task, domains, StopFlag(), None)


def refusal(name, key, value, monkeypatch):
    """The line that a recipe with another value ends in."""
    config = read(name)
    config.update_from_flattened_dict({key: value})
    if not OF_THE_NETWORK.fullmatch(key):
        monkeypatch.setattr(classification, "build_network", in_process.flat)
        monkeypatch.setattr(segmentation, "build_segmenter", SHALLOW)
    part = key.partition(".")[0]
    of_all = part in (
        "model",
        "evaluation",
    )  # which any stage reads; each recipe has one of its name
    stage = name.partition(":")[0] if of_all else part
    with pytest.raises(UserError) as error:
        begin(config, stage)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_words_of_every_method_are_here():
    assert {method for method, _ in WORDS} >= set(METHODS) - {"adabn"}
    assert len(WORDS) > 50


@pytest.mark.parametrize("of, key", WORDS)
def test_a_wrong_word_is_one_line_that_names_stage_and_key(of, key, monkeypatch):
    name, whole = WORDS[of, key]
    line = refusal(name, whole, "no_such_word", monkeypatch)
    assert line.startswith(f"config.{whole}='no_such_word': unknown; known: "), line


@pytest.mark.parametrize(
    "name, key, value, says",
    [
        ("bicl", "bicl_0.temperature", 0.0, "config.bicl_0.temperature=0.0: expected more than 0"),
        ("plca", "plca.association.kind", "pair", "known: contrast, similarity"),
        ("clan", "model.heads", "single", "config.model.heads='single': set it to 'twin', which"),
        ("plca", "model.heads", "twin", "config.model.heads='twin': set it to 'single', which"),
        ("spcl", "spcl.target_mask", "online2", "config.spcl.target_mask='online2': unknown;"),
        ("mscan", "mscan.target_bn", 2, "config.mscan.target_bn=2: the data have 3 source(s)"),
        ("dann", "dann.target_bn", 1, "config.dann.joint_pass=True: puts both domains through"),
    ],
)
def test_a_value_that_does_not_fit_is_one_line(name, key, value, says, monkeypatch):
    assert says in refusal(name, key, value, monkeypatch)


@pytest.mark.parametrize(
    "name, key, value, says",
    [
        ("can", "can.optimizer.kind", "adam", "needs betas beside it, which this recipe does not"),
        ("can", "can.optimizer.schedule", "poly", "needs power, horizon_steps, warmup_steps"),
        ("can", "can.optimizer.schedule", "cosine", "aims at the last step, which a stage that"),
        ("mcd", "mcd.classifier_optimizer.schedule", "exp", "add them to the recipe, or choose"),
        ("spcl", "self_training.loss.kind", "focal", "needs gamma beside it"),
        ("clan", "clan.discriminator_optimizer.kind", "sgd", "or choose among adam"),
    ],
)
def test_a_word_whose_keys_the_recipe_does_not_have_is_one_line(
    name, key, value, says, monkeypatch
):
    line = refusal(name, key, value, monkeypatch)
    assert line.startswith(f"config.{key}='{value}': ") and says in line, line


def test_a_pattern_without_a_parameter_names_stage_and_key(monkeypatch):
    line = refusal("can", "can.optimizer.lr_multipliers", (("/haed/", 10.0),), monkeypatch)
    assert line.startswith("config.can.optimizer.lr_multipliers='/haed/': matches no parameter")


def test_a_choice_is_the_word_at_its_key():
    config = ConfigDict({"loss": {"kind": "focal", "gamma": 2.0}, "empty": ""})
    known = {"cross_entropy": (), "focal": ("gamma",), "poly": ("power",)}
    assert choice(config, "loss.kind", known) == "focal"
    assert choice(config, "empty", ("", "x")) == ""
    config.loss.kind = "poly"
    with pytest.raises(SettingError, match="needs power .* choose among cross_entropy, focal$"):
        choice(config, "loss.kind", known)


def test_parts_of_a_config_are_put_before_a_key_until_it_is_whole():
    with pytest.raises(SettingError) as error:
        with part_of_config("config.clan"), part_of_config("optimizer"):
            raise SettingError("kind", "sdg", "unknown")
    assert str(error.value) == "config.clan.optimizer.kind='sdg': unknown"
    with pytest.raises(SettingError, match="^config.model.heads='x': y$"):
        with part_of_config("config.clan"):
            raise SettingError("config.model.heads", "x", "y")
