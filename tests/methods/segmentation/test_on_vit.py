"""Any method on a vision transformer: a step of those whose losses look at features, twin heads, or
pseudo-labels, at toy size.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipes
from batches import images_and_labels, part

from dajax.methods import METHODS
from dajax.models.vit import Variant, ViT
from dajax.models.vit_segmenter import ViTSegmenter
from dajax.recipes.base import common as base

HW, CLASSES = (32, 48), 4  # CLAN's discriminator halves a side five times
TOY = Variant(12, 1, 3, patch=8, grid=3, layer_scale=1.0)  # 4 x 6 tokens
CASES = {
    "plca": ("plca", None, "plca"),
    "bicl": ("bicl", None, "bicl_0"),
    "clan": ("clan", None, "clan"),
    "self_training": ("spcl", None, "self_training"),
}


def batch(seed=0):
    """Parts under all names that the methods read them by."""
    images, labels = images_and_labels(seed, (2, *HW, 3), CLASSES)
    return {
        "source": part(images[0], labels),
        "labelled": part(images[0], labels),
        "target": part(images[1], np.roll(labels, 3, axis=2)),
    }


def prepared(name):
    """(initial state, train step) of a method on the toy, with AdamW."""
    recipe, argument, stage = CASES[name]
    config = recipes.get_config(recipe, argument)[stage]
    config.optimizer = base.adamw(lr=1e-3, schedule="constant", layer_decay=0.9)
    if "adversarial" in config:
        config.target_hw, config.adversarial.width = HW, 4
    model = ViTSegmenter(ViT(TOY), CLASSES, heads="twin" if name == "clan" else "single")
    zeros = jnp.zeros((2, *HW, 3))
    method = METHODS[config.method]

    def init():
        return method.init(jax.random.key(0), zeros, config=config, model=model, sizes=None)

    def step(state, parts):
        return method.train_step(
            state, parts, jax.random.key(1), config=config, model=model, axis_name=None
        )

    return init, step


@pytest.mark.parametrize("name", ["clan", "self_training"])
def test_a_step_is_one_of_its_shapes(name):
    """Traced and not compiled: the state keeps its shapes, and figures are scalars. All of them
    take a step in the test below.
    """
    init, step = prepared(name)
    state = jax.eval_shape(init)
    after, figures = jax.eval_shape(step, state, batch())
    same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), state, after)
    assert all(jax.tree.leaves(same))
    assert all(figure.shape == () for figure in figures.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_step_moves_encoder_and_head_and_stays_finite(name):
    init, step = prepared(name)
    state = init()
    after, figures = jax.jit(step)(state, batch())
    assert all(np.isfinite(figure) for figure in figures.values()), figures
    for network in ("backbone", "head"):
        before = state.params["segmenter"][network]
        moved = jax.tree.map(
            lambda a, b: float(jnp.abs(a - b).max()), before, after.params["segmenter"][network]
        )
        assert max(jax.tree.leaves(moved)) > 0
