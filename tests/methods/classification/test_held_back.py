"""Loops that are trained without alignment, because head and clusters say different things of the
target's images (clustering.min_agreement, ours).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import part
from toy_classifier import ArrayFeed, ToyNetwork

from dajax.losses.cdd import CDD
from dajax.methods import Sizes
from dajax.methods.classification import _clustering_loop as alternation
from dajax.methods.classification import can, mscan
from dajax.models.apply import inference
from dajax.recipes import can as can_recipe
from dajax.recipes import mscan as mscan_recipe
from dajax.recipes.base import classification as cls_base

CLASSES, WIDTH, PER_CLASS = 3, 8, 12
METHODS = {can: can_recipe.VARIANTS, mscan: mscan_recipe.VARIANTS}


def stage(method, min_agreement):
    arg = cls_base.parse("digits", METHODS[method])
    config = can_recipe.stage(arg) if method is can else mscan_recipe.mscan_stage(arg, 1)
    config.class_aware.update(
        num_classes=CLASSES, source_per_class=2, target_per_class=2, max_share=1.0
    )
    config.update(batch_size=6)
    config.clustering.update(max_distance=1.0, min_agreement=min_agreement)
    return config


def rows(labels, seed, shift=0.0):
    """Points around a centre for each class."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), WIDTH))
    return (3.0 * np.eye(CLASSES, WIDTH)[labels] + shift + 0.3 * noise).astype(np.float32)


def initial(method, config, model):
    sizes = Sizes(source=1, target=CLASSES * PER_CLASS, num_sources=1)
    return method.init(
        jax.random.key(0), jnp.zeros((2, WIDTH)), config=config, model=model, sizes=sizes
    )


@pytest.fixture(autouse=True)
def distance_of_means(monkeypatch):
    """In place of CDD, which takes long to compile and which others look at."""

    def distance(source, target, *_, **__):
        total = ((source[0] + 1.0).mean() - target[0].mean()) ** 2
        return CDD(total, total, total)

    for method in METHODS:
        monkeypatch.setattr(method, "cdd", distance)


def trained(method, config, *held_back):
    """[(state, metrics) after one step, for each value of `held_back`, or without such a value]."""
    model, labels = ToyNetwork(CLASSES, (8, 6)), np.repeat(np.arange(CLASSES), 2)
    number = "" if method is can else "0"
    batch = {
        f"source{number}": part(rows(labels, 1), labels),
        f"class_source{number}": part(rows(labels, 2)),
        "class_target": part(rows(labels, 3, 0.5)),
    }
    step = jax.jit(functools.partial(method.train_step, config=config, model=model))
    state = initial(method, config, model)
    extras = [{alternation.HELD_BACK: jnp.asarray(held)} for held in held_back] or [{}]
    return [step(state.replace(extra=state.extra | extra), batch, None) for extra in extras]


@pytest.mark.parametrize("method", METHODS, ids=["can", "mscan"])
def test_a_loop_that_is_held_back_trains_as_with_weight_zero(method):
    """Both domains pass the network, so the target's statistics move as ever."""
    gated, off = stage(method, 0.7), stage(method, 0.0)
    off.cdd.weight = 0.0
    (held, metrics), (aligned, _) = trained(method, gated, True, False)
    ((without, expected),) = trained(method, off)
    for found, wanted in ((held.params, without.params), (held.batch_stats, without.batch_stats)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, wanted
        )
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-6)
    moved = [state.params["classifier"]["fc2"]["kernel"] for state in (aligned, held)]
    assert np.abs(moved[0] - moved[1]).max() > 1e-4


@pytest.mark.parametrize("method", METHODS, ids=["can", "mscan"])
@pytest.mark.parametrize("agrees", [True, False], ids=["agrees", "differs"])
def test_the_agreement_of_head_and_clusters_decides_at_each_clustering(method, agrees):
    """A head that gives every image class 0 agrees with a third of them; no label is looked at."""
    model, config = ToyNetwork(CLASSES, (8, 6)), stage(method, 0.6)
    source, target = np.repeat(np.arange(CLASSES), 5), np.repeat(np.arange(CLASSES), PER_CLASS)
    sets = {"target": (rows(target, 5), None)}
    sets["source" if method is can else "source0"] = (rows(source, 4), source)
    state = initial(method, config, model)
    if not agrees:
        head = state.params["classifier"]["head"]
        head["kernel"] = jnp.zeros_like(head["kernel"])
        head["bias"] = jnp.array([1.0, 0.0, 0.0])
    else:
        state = _with_head_of_centres(state, model, rows(source, 4), source)
    new, summary, notes = method.refresh(state, data=ArrayFeed(sets), config=config, model=model)
    assert bool(new.extra[alternation.HELD_BACK]) is not agrees
    assert summary["held_back"] == float(not agrees)
    assert (summary["head_agreement"] < 0.6) is not agrees
    held = [note for note in notes if "held back" in note]
    if agrees:
        assert not held
    else:
        assert "agree on 33% of the target images" in held[0] and "min_agreement=0.6" in held[0]


def _with_head_of_centres(state, model, images, labels):
    """A head that gives each class the images whose features are nearest to its centre."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    features = np.asarray(inference(model, 0)(variables, jnp.asarray(images)).features)
    centers = np.stack([features[labels == k].mean(0) for k in range(CLASSES)])
    head = state.params["classifier"]["head"]
    head["kernel"] = jnp.asarray(centers.T)
    head["bias"] = jnp.asarray(-0.5 * (centers**2).sum(-1))
    return state


@pytest.mark.parametrize("method", METHODS, ids=["can", "mscan"])
def test_without_the_setting_nothing_is_carried(method):
    """So a checkpoint of the version before is whole."""
    config = stage(method, 0.0)
    extra = initial(method, config, ToyNetwork(CLASSES, (8, 6))).extra
    assert alternation.HELD_BACK not in extra
