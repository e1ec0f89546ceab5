"""Methods that were published on a residual network take a step on a MiT, and several devices drop
the same branches as one.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipes
from ml_collections import ConfigDict

from benchmarks.method_steps import STAGES
from dajax import parallel
from dajax.errors import UserError
from dajax.methods import METHODS, Sizes
from dajax.models.build import build_segmenter
from dajax.recipes.base import deeplab, mit

HW, CLASSES = (32, 64), 4
PARTS = {"self_training": ("target",), "source_only_seg": ("labelled",)}


def make(name, heads="single", **changes):
    """(stage's config, model): the recipe's stage, and a MiT of two blocks."""
    recipe, argument, stage = STAGES.get(name, (name, None, name))
    config = recipes.get_config(recipe, argument)[stage]
    config.optimizer = deeplab.poly_sgd(0.01, head_multiplier=1.0)
    if "adversarial" in config:
        config.target_hw, config.adversarial.width = HW, 4
    settings = ConfigDict(mit.network("mit_tiny", head="daformer_conv1", heads=heads, **changes))
    model = build_segmenter(settings, config, num_classes=CLASSES)
    return config, model.clone(backbone=model.backbone.clone(depths=(1, 0, 0, 1), drop_path=0.5))


def make_batch(name, with_source=False):
    rng = np.random.default_rng(0)

    def part():
        return {
            "image": rng.normal(size=(4, *HW, 3)).astype(np.float32),
            "label": rng.integers(0, CLASSES, (4, *HW)).astype(np.int32),
            "mask": np.ones(4, bool),
        }

    both = ("source", "target")
    return {key: part() for key in (both if with_source else PARTS.get(name, both))}


def take_step(name, config, model, devices):
    """(state before, state after, figures)."""
    method = METHODS[name]
    sizes = Sizes(source=4, target=4, num_sources=1)

    @jax.jit  # operation by operation it takes many times as long
    def init(rng):
        zeros = jnp.zeros((2, *HW, 3))
        return method.init(rng, zeros, config=config, model=model, sizes=sizes)

    start = init(jax.random.key(0))

    def train_step(state, batch, rng, axis_name):
        return method.train_step(state, batch, rng, config=config, model=model, axis_name=axis_name)

    before = jax.device_get(start)
    step = parallel.compile_train_step(train_step, devices)
    after, figures = step(start, make_batch(name), jax.random.key(1))
    return before, jax.device_get(after), jax.device_get(figures)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, heads",
    [
        ("plca", "single"),
        ("bicl", "single"),
        ("clan", "twin"),
        ("spcl", "single"),
        ("self_training", "single"),
    ],
)
def test_a_method_trains_encoder_and_decoder(name, heads):
    config, model = make(name, heads)
    before, after, figures = take_step(name, config, model, jax.devices()[:1])
    assert all(np.isfinite(value) for value in figures.values())
    moved = jax.tree.map(
        lambda a, b: not np.array_equal(a, b), before.params["segmenter"], after.params["segmenter"]
    )
    still = [
        jax.tree_util.keystr(path)
        for path, has in jax.tree_util.tree_leaves_with_path(moved)
        if not has
    ]
    # of a branch that was dropped in every image there is no gradient
    assert len(still) < 0.1 * len(jax.tree.leaves(moved)), still
    assert moved["backbone"]["patch_embed1"]["proj"]["kernel"]


@pytest.mark.slow
def test_four_devices_drop_what_one_drops():
    """Self-training, with drop path and dropout of channels."""
    config, model = make("self_training")
    assert model.decode_head.dropout > 0 and model.backbone.drop_path > 0
    _, one, _ = take_step("self_training", config, model, jax.devices()[:1])
    _, four, _ = take_step("self_training", config, model, jax.devices())
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(four.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("name", ["plca", "bicl", "spcl"])
def test_hrda_is_refused_where_nobody_trains_its_detail(name):
    config, model = make(name, detail_hw=(16, 32))
    with pytest.raises(UserError, match=rf"hrda.detail_hw=\(16, 32\): {name} trains no detail"):
        take_step(name, config, model, jax.devices()[:1])


@pytest.mark.parametrize(
    "name, said", [("plca", "set it to 'single'"), ("clan", "set it to 'twin'")]
)
def test_heads_are_asked_for_as_on_a_residual_network(name, said):
    config, model = make(name, heads="twin" if name == "plca" else "single")
    with pytest.raises(UserError, match=said):
        take_step(name, config, model, jax.devices()[:1])


@pytest.mark.parametrize(
    "recipe, argument",
    [
        ("clan", "backbone=vgg16_fcn8s"),
        ("clan", "backbone=vgg16"),
        ("spcl", "backbone=vgg16"),
        ("fada", "backbone=vgg16"),
        ("cbst", "backbone=vgg16_fcn8s"),
        ("cbst", "backbone=vgg16"),
        ("source_only_seg", "like=clan,backbone=vgg16_fcn8s"),
    ],
)
def test_a_vgg_takes_a_step_in_every_stage_of_its_recipe(recipe, argument):
    """In shapes alone, of 138 million parameters."""
    whole = recipes.get_config(recipe, f"gta5_to_cityscapes,weights=none,{argument}")
    stages = [name for name in whole.stages if whole[name].method != "pseudo_labels"]
    assert stages
    for name in stages:
        config, method = whole[name], METHODS[whole[name].method]
        if "target_hw" in config:
            config.target_hw = HW
        model = build_segmenter(whole.model, config, num_classes=CLASSES)
        settings = dict(config=config, model=model)
        state = jax.eval_shape(
            functools.partial(method.init, **settings), jax.random.key(0), jnp.zeros((1, *HW, 3))
        )
        batch = make_batch(config.method, with_source=bool(config.get("source_share")))
        after, figures = jax.eval_shape(
            functools.partial(method.train_step, **settings), state, batch, jax.random.key(0)
        )
        assert jax.tree.structure(after) == jax.tree.structure(state) and "loss" in figures
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state), name
