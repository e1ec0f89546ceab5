"""MSCAN: nothing of it was released, so it is held to CAN where they must agree, and to hand-made sources where they must not break."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import can as can_config
from configs import cls_base, mscan as mscan_config
from dajax.errors import UserError
from dajax.methods import can, mscan
from toy_classifier import ArrayFeed, ToyNetwork

CLASSES, WIDTH, SOURCES = 4, 10, 2


def stage(num_sources=SOURCES):
    config = mscan_config.mscan_stage(cls_base.parse("digits"), num_sources)
    config.class_aware.update(num_classes=3, source_per_class=2, target_per_class=2)
    config.batch_size = 6
    return config


def network(num_domains):
    return ToyNetwork(CLASSES, (8, 6), num_domains)


def initial(config, model, method=mscan, num_target=40):
    images = {"source": 1, "target": num_target, "sources": SOURCES}
    return method.init(jax.random.key(0), jnp.zeros((2, WIDTH)), config=config, model=model, num_images=images)


def rows(rng, labels, shift=0.0):
    """Points around a centre for each class."""
    return (3.0 * np.eye(CLASSES, WIDTH)[labels] + shift + 0.3 * rng.normal(size=(len(labels), WIDTH))).astype(np.float32)


def make_batch(seed, masks=((1,) * 6, (1,) * 6), target_mask=(1,) * 6):
    rng = np.random.default_rng(seed)
    blocks = np.repeat(np.arange(3), 2)
    batch = {"class_target": {"image": rows(rng, blocks, 0.5), "mask": np.array(target_mask, bool)}}
    for i, mask in enumerate(masks):
        labels = rng.integers(0, CLASSES, 6).astype(np.int32)
        batch[f"source{i}"] = {"image": rows(rng, labels, 0.1 * i), "label": labels, "mask": np.ones(6, bool)}
        batch[f"class_source{i}"] = {"image": rows(rng, blocks, 0.1 * i), "mask": np.array(mask, bool)}
    return batch


@pytest.fixture(scope="module")
def step():
    config, model = stage(), network(SOURCES + 1)
    return jax.jit(lambda state, batch: mscan.train_step(state, batch, None, config=config, model=model))


def test_weights_are_of_this_batchs_cross_entropies(step):
    _, metrics = step(initial(stage(), network(SOURCES + 1)), make_batch(0))
    confidence = 1 / np.array([metrics["ce0"], metrics["ce1"]])
    np.testing.assert_allclose([metrics["weight0"], metrics["weight1"]], confidence / confidence.sum(), rtol=1e-5)
    expected = metrics["ce0"] + metrics["ce1"] + 0.3 * (metrics["weight0"] * metrics["cdd0"] + metrics["weight1"] * metrics["cdd1"])
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["a class missing in one source", "one class left", "a single image of each class in one source", "nothing left"])
def test_scarce_classes_train_on(step, name):
    masks, target_mask = [[1] * 6, [1] * 6], [1] * 6
    if name == "a class missing in one source":
        masks[1] = [1, 1, 0, 0, 1, 1]
    if name == "one class left":
        masks, target_mask = [[1, 1, 0, 0, 0, 0]] * 2, [1, 1, 0, 0, 0, 0]
    if name == "a single image of each class in one source":
        masks[1] = [1, 0] * 3
    if name == "nothing left":
        masks, target_mask = [[0] * 6] * 2, [0] * 6
    state, metrics = step(initial(stage(), network(SOURCES + 1)), make_batch(0, masks, target_mask))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)) and np.isfinite(metrics["grad_norm"])
    if name == "nothing left":
        assert metrics["cdd0"] == metrics["cdd1"] == 0


def test_one_source_is_can():
    """E = 1: the weight is 1, the ensemble has one member, and a step and a clustering are CAN's."""
    ours, theirs = stage(1), can_config.stage(cls_base.parse("digits"))
    theirs.class_aware, theirs.batch_size = ours.class_aware, ours.batch_size
    model = network(2)
    one = make_batch(1)
    for config, method, batch in (
        (ours, mscan, {"source0": one["source0"], "class_source0": one["class_source0"], "class_target": one["class_target"]}),
        (theirs, can, {"source": one["source0"], "class_source": one["class_source0"], "class_target": one["class_target"]}),
    ):
        images = {"source": 1, "target": 40, "sources": 1}
        state = method.init(jax.random.key(0), jnp.zeros((2, WIDTH)), config=config, model=model, num_images=images)
        state, metrics = jax.jit(lambda s, b: method.train_step(s, b, None, config=config, model=model))(state, batch)
        labels, target = np.repeat(np.arange(CLASSES), 5), np.repeat(np.arange(CLASSES), 10)
        data = rows(np.random.default_rng(4), labels), labels
        feed = ArrayFeed({"source": data, "source0": data, "target": (rows(np.random.default_rng(5), target, 0.5), None)})
        refreshed, summary, _ = method.refresh(state, data=feed, config=config, model=model)
        found = state.params, metrics["loss"], refreshed.extra["pseudo_labels"], summary["center_change"]
        if method is mscan:
            expected = found
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)


def make_feed(second_labels):
    """Two sources and a target of ten images a class."""
    rng, labels, target = np.random.default_rng(6), np.repeat(np.arange(CLASSES), 5), np.repeat(np.arange(CLASSES), 10)
    second = np.array(second_labels)
    return ArrayFeed({
        "source0": (rows(rng, labels), labels), "source1": (rows(rng, second, 0.1), second), "target": (rows(rng, target, 0.5), None),
    }), target


@pytest.mark.parametrize("second", [[0, 0, 1, 1, 3, 3], [0, 1, 2, 3]], ids=["without class 2", "a single image a class"])
def test_the_ensemble_labels_the_target_though_one_source_is_scarce(second):
    config, model = stage(), network(SOURCES + 1)
    config.clustering.max_distance = 1.0
    feed, _ = make_feed(second)
    state = initial(config, model)
    new, summary, _ = mscan.refresh(state, data=feed, config=config, model=model)
    labels = np.asarray(new.extra["cluster_labels"])
    assert np.isfinite(summary["center_change"]) and summary["kmeans_updates"] < config.clustering.max_updates
    assert 0 < summary["ensemble_agreement"] <= 1 and labels.min() >= 0 and len(set(labels)) > 1
    assert new.extra["centers"].shape == (SOURCES, CLASSES, 6) and int(new.extra["loop"]) == 1


def test_a_wrong_number_of_sources_or_an_unknown_choice_is_one_clear_line():
    with pytest.raises(UserError, match="target_bn=3, but the data have 2 source"):
        initial(stage(3), network(4))
    for key, match in (("weighting", "unknown weighting 'x'; known: bsa"), ("clustering.ensemble", "unknown clustering.ensemble 'x'; known: mean")):
        config = stage()
        config.update_from_flattened_dict({key: "x"})
        with pytest.raises(UserError, match=match):
            initial(config, network(SOURCES + 1))
    with pytest.raises(ValueError, match="two sources or more"):
        mscan_config.get_config("digits,source=type")
