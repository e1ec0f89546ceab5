"""The segmentation recipes: what their arguments do, what a stage may say for itself, and workdirs
of the version before.
"""

import importlib
import itertools
import json

import jax
import jax.numpy as jnp
import pytest

from dajax.engine.config_check import check_config
from dajax.engine.old_config import with_added_keys
from dajax.errors import UserError
from dajax.methods import METHODS
from dajax.methods.segmentation._segmenter import init_network
from dajax.models.build import build_segmenter
from dajax.optim import make_optimizer
from dajax.recipes import adaptsegnet, source_only_seg, spcl
from dajax.recipes.base import segmentation as seg_base
from dajax.tasks.common import Domains
from dajax.tasks.segmentation import feed as seg_feed

REAL = {
    name: tuple(
        variant
        for variant in importlib.import_module(f"dajax.recipes.{name}").VARIANTS
        if "_to_" in variant
    )
    for name in ("adaptsegnet", "bicl", "clan", "plca", "source_only_seg", "spcl")
}
SMALL = {"compare_seg": ("scenes",)} | {
    name: tuple(
        variant
        for variant in importlib.import_module(f"dajax.recipes.{name}").VARIANTS
        if "_to_" not in variant
    )
    for name in REAL
}


def get_config(recipe, argument):
    return importlib.import_module(f"dajax.recipes.{recipe}").get_config(argument)


@pytest.mark.parametrize(
    "recipe, variant", [(name, variant) for name, variants in REAL.items() for variant in variants]
)
def test_a_real_variant_asks_for_weights(recipe, variant):
    with pytest.raises(
        ValueError,
        match=(
            f"variant {variant} trains from pretrained weights: add weights=FILE .* or weights=none"
        ),
    ):
        get_config(recipe, f"{variant},source=A,target=B")
    assert get_config(recipe, f"{variant},weights=none").model.weights == ""
    assert get_config(recipe, f"{variant},weights=file.pth").model.weights == "file.pth"


@pytest.mark.parametrize(
    "recipe, variant", [(name, variant) for name, variants in SMALL.items() for variant in variants]
)
@pytest.mark.parametrize(
    "argument", ["weights=none", "weights=nowhere.pth", "source=DIR", "target=DIR"]
)
def test_a_variant_that_trains_from_random_weights_takes_no_file_and_no_folder(
    recipe, variant, argument
):
    key = argument.partition("=")[0]
    with pytest.raises(
        ValueError,
        match=f"'{argument}': (variant {variant} does not use {key}; it takes|expected key=value)",
    ):
        get_config(recipe, f"{variant},{argument}")


@pytest.mark.parametrize(
    "recipe, argument, message",
    [
        ("plca", "scenes,settings=paper", "variant scenes does not use settings; it takes none"),
        (
            "plca",
            "ablations,settings=code",
            "variant ablations does not use settings; it takes none",
        ),
        (
            "plca",
            "gta5_to_cityscapes,weights=none,backbone=vgg16",
            "expected key=value with a key among source, target, weights, settings",
        ),
        (
            "adaptsegnet",
            "scenes,backbone=vgg16",
            "variant scenes does not use backbone; it takes levels, gan",
        ),
        (
            "adaptsegnet",
            "scenes,settings=paper",
            "variant scenes does not use settings; it takes levels, gan",
        ),
        (
            "source_only_seg",
            "scenes,backbone=vgg16",
            "variant scenes does not use backbone; it takes none",
        ),
        (
            "bicl",
            "ablations,settings=code",
            "variant ablations does not use settings; it takes density",
        ),
        (
            "bicl",
            "scenes,density=1",
            "density=1.0: a share of the target's pixels, from 0 .* to below 1",
        ),
        ("bicl", "scenes,density=nan", "density=nan: a share"),
        ("bicl", "scenes,density=much", "'density=much': expected a value of type float"),
        (
            "bicl",
            "scenes,density=0.3,settings=code",
            "density=0.3: settings=code has no dynamic labels",
        ),
        ("adaptsegnet", "scenes,levels=triple", "'levels=triple': known: single, multi"),
        ("adaptsegnet", "scenes,gan=LS", "'gan=LS': known: vanilla, least_squares"),
        ("clan", "scenes,settings=papers", "'settings=papers': known: code, paper"),
        (
            "adaptsegnet",
            "gta5_to_cityscapes,weights=none,backbone=vgg19",
            "'backbone=vgg19': known: resnet101, resnet50, vgg16, vgg16_fcn8s",
        ),
        (
            "adaptsegnet",
            "gta5_to_cityscapes,weights=none,backbone=vgg16,levels=multi",
            "levels=multi: backbone vgg16 has one head",
        ),
        (
            "adaptsegnet",
            "gta5_to_cityscapes,weights=none,backbone=vgg16_fcn8s,settings=paper",
            "settings=paper: changes nothing for backbone vgg16_fcn8s",
        ),
        (
            "source_only_seg",
            "gta5_to_cityscapes,weights=none,backbone=vgg16,settings=paper",
            "settings=paper: changes nothing for backbone vgg16",
        ),
    ],
)
def test_an_argument_without_effect_or_sense_is_an_error_of_one_line(recipe, argument, message):
    with pytest.raises(ValueError, match=message) as error:
        get_config(recipe, argument)
    assert "\n" not in str(error.value)


def test_two_arguments_that_train_differently_have_two_workdirs():
    """A recipe's name is its default workdir: a ResNet's run must not be taken for a VGG's."""
    choices = {
        "adaptsegnet": (
            seg_base.BACKBONES,
            ("single", "multi"),
            ("vanilla", "least_squares"),
            ("code", "paper"),
        ),
        "source_only_seg": (seg_base.BACKBONES, ("code", "paper")),
        "clan": (("code", "paper"),),
        "spcl": (("code", "paper"),),
        "plca": (("code", "paper"),),
        "bicl": (("slides", "code"), ("0", "0.343", "0.5")),
    }
    keys = {
        "adaptsegnet": ("backbone", "levels", "gan", "settings"),
        "source_only_seg": ("backbone", "settings"),
        "bicl": ("settings", "density"),
    }
    for recipe, values in choices.items():
        found = {}
        for chosen in itertools.product(*values):
            pairs = zip(keys.get(recipe, ("settings",)), chosen, strict=True)
            try:
                config = get_config(
                    recipe,
                    f"{REAL[recipe][0]},weights=none,"
                    + ",".join(f"{key}={value}" for key, value in pairs),
                )
            except ValueError:
                continue
            name, content = (
                config.name,
                config.copy_and_resolve_references().to_dict() | {"name": ""},
            )
            assert found.setdefault(name, content) == content, name
        assert len(found) > 1 and len(
            {json.dumps(content, sort_keys=True, default=str) for content in found.values()}
        ) == len(found)


def test_spcls_self_training_trains_scale_and_bias_and_its_other_stages_do_not():
    config = spcl.get_config("gta5_to_cityscapes,weights=none")
    trained = {}
    for stage in config.stages:
        backbone = build_segmenter(config.model, config[stage], num_classes=19).backbone
        trained[stage] = (
            backbone.train_norm_affine,
            backbone.norm,
            backbone.frozen_parameters() == (),
        )
    self_training = trained.pop("self_training")
    assert self_training == (True, "train", True)
    assert set(trained.values()) == {(False, "frozen_no_eps", False)}


@pytest.mark.parametrize("settings, block, shortcut", [("code", 3, 4), ("paper", 1, 1)])
def test_the_optimiser_steps_every_tensor_as_often_as_the_authors_list_has_it(
    settings, block, shortcut
):
    """spec/clan.md, 3.3: 99 convolutions of blocks, 4 of shortcuts, the stem's once; no affine."""
    config = get_config("clan", f"gta5_to_cityscapes,weights=none,settings={settings}")
    model = build_segmenter(config.model, config.clan, num_classes=19)
    params = jax.eval_shape(
        lambda key: init_network(key, jnp.zeros((1, 64, 64, 3)), model=model)[0], jax.random.key(0)
    )
    optimizer = make_optimizer(
        config.clan.optimizer, params, steps=config.clan.steps, frozen=model.frozen_parameters()
    )
    groups = jax.eval_shape(optimizer.init, params).inner_states
    # A buffer of momentum for each tensor; what has no axis is a count of steps.
    buffers = {
        name: sum(leaf.ndim > 0 for leaf in jax.tree.leaves(state))
        for name, state in groups.items()
    }
    expected = {"x1, stepped 1": 1, "x10, stepped 1": 16}  # the stem; 2 heads of 4 branches
    for count, tensors in ((block, 99), (shortcut, 4)):
        group = f"x1, stepped {count}"
        expected[group] = expected.get(group, 0) + tensors
    assert {name: count for name, count in buffers.items() if count} == expected


@pytest.mark.parametrize("affine, expected", [("", True), ("trained", True), ("frozen", False)])
def test_a_stage_has_its_own_rule_for_scale_and_bias(affine, expected):
    config = source_only_seg.get_config("scenes")
    config.source_only.norm_affine = affine
    assert (
        build_segmenter(config.model, config.source_only, num_classes=3).backbone.train_norm_affine
        is expected
    )
    config.source_only.norm_affine = "train"
    with pytest.raises(
        UserError,
        match="norm_affine='train': unknown; known: '', trained, frozen",
    ):
        build_segmenter(config.model, config.source_only, num_classes=3)


class Asked:
    """A feed that says what it was asked for."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: (name, *args, *kwargs.items())


@pytest.mark.parametrize(
    "variant, is_balanced",
    [
        ("gta5_to_cityscapes", True),
        ("synthia_to_cityscapes", True),
        ("synscapes_to_cityscapes", False),
        ("gta5_to_cityscapes,settings=paper", False),
    ],
)
def test_both_stages_of_spcl_that_see_the_source_draw_it_alike(variant, is_balanced):
    config = spcl.get_config(variant.replace("cityscapes", "cityscapes,weights=none", 1))
    for stage in ("warm_up", "spcl"):
        found = METHODS[config[stage].method].plan(None, data=Asked(), config=config[stage])[
            "source"
        ]
        assert found == (
            ("class_balanced", 4) if is_balanced else ("shuffled_with_labels", "source", 4)
        )
    plain = adaptsegnet.get_config("gta5_to_cityscapes,weights=none").adaptsegnet
    assert (
        METHODS["adaptsegnet"].plan(None, data=Asked(), config=plain)["source"][0]
        == "shuffled_with_labels"
    )


def test_a_source_only_stage_sees_its_images_through_its_own_transform():
    class Images:
        name, label_paths, class_names, space = "images", ("a", "b"), ("class",), None

        def __len__(self):
            return 2

        def without_labels(self):
            return self

    domains = Domains(
        Images(),
        Images(),
        Images(),
        {"source": "large crops", "source_only": "small crops"},
        (8, 8, 3),
        ("class",),
    )
    feed = seg_feed.SegFeed(
        domains, seed=0, stage="source_only", directory=None, devices=[None], is_oracle=False
    )
    config = (
        importlib.import_module("dajax.recipes.bicl")
        .get_config("gta5_to_cityscapes,weights=none")
        .source_only
    )

    def transform_of(name):
        config.transform = name
        return METHODS["source_only_seg"].plan(None, data=feed, config=config)["labelled"].transform

    assert config.transform == "source_only"
    assert [transform_of(name) for name in ("source_only", "")] == ["small crops", "large crops"]
    with pytest.raises(
        UserError,
        match=(
            "config.source_only.transform='tiny' is not in config.data.transforms; known: source, "
            "source_only"
        ),
    ):
        transform_of("tiny")


ADDED = ("norm_affine", "class_balanced", "transform")


def version_before(config):
    """config.json as the version before wrote it."""
    tree = json.loads(config.to_json())
    for name in config.stages:
        stage = tree[name]
        for key in ADDED:
            if not (key == "class_balanced" and stage["method"] == "spcl") and not (
                key == "transform" and stage["method"] == "self_training"
            ):
                stage.pop(key, None)
        stage.get("loss", {}).pop("on", None)
        stage.get("dynamic", {}).pop("share", None)
    return tree


@pytest.mark.parametrize("recipe", [*REAL, "compare_seg"])
def test_a_workdir_of_the_version_before_goes_on_where_nothing_changed(recipe, tmp_path):
    config, path = get_config(recipe, "scenes"), tmp_path / "config.json"
    old = version_before(config)
    assert old != json.loads(config.to_json()) == with_added_keys(old), (
        "dajax.load reads it so, too"
    )
    path.write_text(json.dumps(old))
    check_config(config, tmp_path)
    old[config.stages[0]]["norm_affine"] = "frozen"
    path.write_text(json.dumps(old))
    with pytest.raises(UserError, match=f"{config.stages[0]}.norm_affine=frozen there,  now"):
        check_config(config, tmp_path)


def test_a_workdir_whose_published_numbers_changed_is_refused_by_name(tmp_path):
    config = get_config("clan", "gta5_to_cityscapes,weights=none")
    old = version_before(config)
    old["clan"]["optimizer"]["repeats"] = []
    (tmp_path / "config.json").write_text(json.dumps(old))
    with pytest.raises(
        UserError, match=r"begun with another config: clan.optimizer.repeats=\[\] there"
    ):
        check_config(config, tmp_path)
