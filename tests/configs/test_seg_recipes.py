"""The segmentation recipes: what a stage may say for itself, and workdirs of the version before."""

import json

import jax
import jax.numpy as jnp
import pytest
import recipes
from recipes import get_config

from dajax.engine.config_check import check_config
from dajax.engine.old_config import with_added_keys
from dajax.errors import UserError
from dajax.methods import METHODS
from dajax.methods.segmentation._segmenter import init_network
from dajax.models.build import build_segmenter
from dajax.optim import make_optimizer
from dajax.recipes import adaptsegnet, source_only_seg, spcl
from dajax.tasks.common import Domains
from dajax.tasks.segmentation import feed as seg_feed


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
    """99 convolutions of blocks, 4 of shortcuts, the stem's once; no scale or bias (as counted in
    the list of get_1x_lr_params_NOscale of CLAN's model/CLAN_G.py).
    """
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
        name, has_labels, class_names, space = "images", True, ("class",), None

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
    config = get_config("bicl", "gta5_to_cityscapes,weights=none").source_only

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


ADDED = ("norm_affine", "class_balanced", "transform", "teacher", "predict_with")
VFM_UDAS = ("weak_view", "strong_for", "mirrored_labels")  # added to a method, with a recipe


def version_before(config):
    """config.json as the version before wrote it."""
    tree = json.loads(config.to_json())
    for role in ("source", "target", "evaluation"):
        for key in ("image_name", "label_name"):
            del tree["data"][role][key]
    for name in config.stages:
        stage = tree[name]
        for key in ADDED:
            # of methods that have had the key from their first version on
            had = {"class_balanced": ("spcl",), "transform": ("self_training",)}
            had["teacher"] = ("cross_domain_mixing", "pixmatch", "proda")
            had["predict_with"] = ("pixmatch",)
            if stage["method"] not in had.get(key, ()):
                stage.pop(key, None)
        if stage["method"] == "cross_domain_mixing" and not stage["mirrored_labels"]:
            for key in VFM_UDAS:
                stage.pop(key, None)
        stage.get("loss", {}).pop("on", None)
        stage.get("dynamic", {}).pop("share", None)
    return tree


@pytest.mark.parametrize("recipe", recipes.of_task("segmentation"))
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
