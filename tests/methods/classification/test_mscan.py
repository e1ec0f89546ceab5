"""MSCAN: nothing of it was released, so it is held to CAN where they must agree, and to hand-made
sources where they must not break.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import part
from toy_classifier import ArrayFeed, ToyNetwork

from dajax.errors import UserError
from dajax.losses.classification import cross_entropy
from dajax.methods import Sizes
from dajax.methods.classification import can, mscan
from dajax.models.apply import forward_train, inference
from dajax.recipes import can as can_config
from dajax.recipes import mscan as mscan_config
from dajax.recipes.base import classification as cls_base

CLASSES, WIDTH, SOURCES = 4, 10, 2


def stage(num_sources=SOURCES):
    arg = cls_base.parse("digits,bsa=batch", mscan_config.VARIANTS)
    config = mscan_config.mscan_stage(arg, num_sources)
    config.class_aware.update(num_classes=3, source_per_class=2, target_per_class=2, max_share=1.0)
    config.batch_size = 6
    return config


def network(num_domains):
    return ToyNetwork(CLASSES, (8, 6), num_domains)


def initial(config, model, method=mscan, num_target=40):
    sizes = Sizes(source=1, target=num_target, num_sources=SOURCES)
    return method.init(
        jax.random.key(0), jnp.zeros((2, WIDTH)), config=config, model=model, sizes=sizes
    )


def rows(rng, labels, shift=0.0):
    """Points around a centre for each class."""
    return (
        3.0 * np.eye(CLASSES, WIDTH)[labels] + shift + 0.3 * rng.normal(size=(len(labels), WIDTH))
    ).astype(np.float32)


def make_batch(seed, masks=((1,) * 6, (1,) * 6), target_mask=(1,) * 6):
    rng = np.random.default_rng(seed)
    blocks = np.repeat(np.arange(3), 2)
    batch = {"class_target": part(rows(rng, blocks, 0.5), mask=target_mask)}
    for i, mask in enumerate(masks):
        labels = rng.integers(0, CLASSES, 6)
        batch[f"source{i}"] = part(rows(rng, labels, 0.1 * i), labels)
        batch[f"class_source{i}"] = part(rows(rng, blocks, 0.1 * i), mask=mask)
    return batch


@pytest.fixture(scope="module")
def step():
    config, model = stage(), network(SOURCES + 1)
    return jax.jit(
        lambda state, batch: mscan.train_step(state, batch, None, config=config, model=model)
    )


def test_weights_are_of_this_batchs_cross_entropies(step):
    _, metrics = step(initial(stage(), network(SOURCES + 1)), make_batch(0))
    confidence = 1 / np.array([metrics["ce0"], metrics["ce1"]])
    np.testing.assert_allclose(
        [metrics["weight0"], metrics["weight1"]], confidence / confidence.sum(), rtol=1e-5
    )
    expected = (
        metrics["ce0"]
        + metrics["ce1"]
        + 0.3 * (metrics["weight0"] * metrics["cdd0"] + metrics["weight1"] * metrics["cdd1"])
    )
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "a class missing in one source",
        "one class left",
        "a single image of each class in one source",
        "nothing left",
    ],
)
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
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)) and np.isfinite(
        metrics["grad_norm"]
    )
    if name == "nothing left":
        assert metrics["cdd0"] == metrics["cdd1"] == 0


def test_one_source_is_can():
    """E = 1: the weight is 1, the ensemble has one member; step and clustering are CAN's."""
    ours, theirs = stage(1), can_config.stage(cls_base.parse("digits"))
    theirs.class_aware, theirs.batch_size = ours.class_aware, ours.batch_size
    model = network(2)
    one = make_batch(1)
    for config, method, batch in (
        (
            ours,
            mscan,
            {
                "source0": one["source0"],
                "class_source0": one["class_source0"],
                "class_target": one["class_target"],
            },
        ),
        (
            theirs,
            can,
            {
                "source": one["source0"],
                "class_source": one["class_source0"],
                "class_target": one["class_target"],
            },
        ),
    ):
        sizes = Sizes(source=1, target=40, num_sources=1)
        state = method.init(
            jax.random.key(0), jnp.zeros((2, WIDTH)), config=config, model=model, sizes=sizes
        )
        step = jax.jit(functools.partial(method.train_step, config=config, model=model))
        state, metrics = step(state, batch, None)
        labels, target = np.repeat(np.arange(CLASSES), 5), np.repeat(np.arange(CLASSES), 10)
        data = rows(np.random.default_rng(4), labels), labels
        feed = ArrayFeed(
            {
                "source": data,
                "source0": data,
                "target": (rows(np.random.default_rng(5), target, 0.5), None),
            }
        )
        refreshed, summary, _ = method.refresh(state, data=feed, config=config, model=model)
        found = (
            state.params,
            metrics["loss"],
            refreshed.extra["pseudo_labels"],
            summary["center_change"],
        )
        if method is mscan:
            expected = found
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )


def make_feed(second_labels):
    """Two sources and a target of ten images a class."""
    rng, second = np.random.default_rng(6), np.array(second_labels)
    labels, target = np.repeat(np.arange(CLASSES), 5), np.repeat(np.arange(CLASSES), 10)
    sets = {
        "source0": (rows(rng, labels), labels),
        "source1": (rows(rng, second, 0.1), second),
        "target": (rows(rng, target, 0.5), None),
    }
    return ArrayFeed(sets), target


SCARCE = {
    "without class 2": [0, 0, 1, 1, 3, 3],
    "class 2 alone": [2, 2, 2],
    "a single image a class": [0, 1, 2, 3],
}


@pytest.mark.parametrize("rule", ["mean", "vote"])
@pytest.mark.parametrize("name", SCARCE)
def test_every_class_is_found_in_the_target_though_one_source_lacks_it(name, rule):
    """The first source has all four. With it alone nine of ten images at least are right: the
    second must not take that away.
    """
    config, model = stage(), network(SOURCES + 1)
    config.clustering.update(max_distance=1.0, ensemble=rule)
    feed, truth = make_feed(SCARCE[name])
    new, summary, _ = mscan.refresh(initial(config, model), data=feed, config=config, model=model)
    labels, centers = np.asarray(new.extra["cluster_labels"]), np.asarray(new.extra["centers"])
    assert (
        min((labels[truth == k] == k).mean() for k in range(CLASSES)) >= 0.8
        and (labels == truth).mean() >= 0.9
    )
    assert (
        np.isfinite(summary["center_change"])
        and summary["kmeans_updates"] < config.clustering.max_updates
    )
    assert summary["ensemble_agreement"] > 0.9, (
        "a source does not disagree about a class that it does not know"
    )
    assert centers.shape == (SOURCES, CLASSES, 6) and int(new.extra["loop"]) == 1
    assert [bool(center.any()) for center in centers[1]] == [
        k in SCARCE[name] for k in range(CLASSES)
    ]


def test_a_clustering_measures_every_source_with_its_own_statistics():
    """In evaluation mode; the weights of the loop that begins are those cross-entropies'."""
    config, model = stage(), network(SOURCES + 1)
    config.weighting = "bsa_source"
    state, moved = initial(config, model), np.random.default_rng(5)
    state = state.replace(
        batch_stats=jax.tree.map(
            lambda leaf: leaf + moved.uniform(0.1, 1.0, leaf.shape).astype(np.float32),
            state.batch_stats,
        )
    )
    feed, _ = make_feed(SCARCE["without class 2"])
    new, summary, _ = mscan.refresh(state, data=feed, config=config, model=model)
    variables = {"params": state.params, "batch_stats": state.batch_stats}

    def mean_entropy(source, norm_set):
        images, labels = feed.labelled(source)
        logits = inference(model, norm_set)(variables, images).logits
        return float(cross_entropy(logits, jnp.asarray(labels)).mean())

    expected = np.array([mean_entropy(f"source{e}", e) for e in range(SOURCES)])
    assert abs(mean_entropy("source1", 0) - expected[1]) > 1e-3, "a mix-up of the two would show"
    found = np.asarray(new.extra[mscan.REMEMBERED])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose([summary["source_ce0"], summary["source_ce1"]], expected, rtol=1e-5)
    weights = (1 / expected) / (1 / expected).sum()
    np.testing.assert_allclose([summary["weight0"], summary["weight1"]], weights, rtol=1e-5)


@pytest.mark.parametrize("weighting", ["bsa", "uniform"])
def test_weights_of_a_batch_or_of_none_remember_nothing(weighting):
    """So a checkpoint of the version before is whole for them."""
    config, model = stage(), network(SOURCES + 1)
    config.weighting = weighting
    state, (feed, _) = initial(config, model), make_feed(SCARCE["without class 2"])
    new, summary, _ = mscan.refresh(state, data=feed, config=config, model=model)
    assert mscan.REMEMBERED not in state.extra and state.extra.keys() == new.extra.keys()
    assert "source_ce0" in summary and "weight0" not in summary


def test_one_sources_images_move_its_own_statistics_only(step):
    """Domain 1's, by hand: a tenth of the way to the random batch's mean, then to the class-aware
    batch's. Nothing of 0 and 2 changes.
    """
    state, batch, other = initial(stage(), network(SOURCES + 1)), make_batch(0), make_batch(1)
    changed = batch | {name: other[name] for name in ("source1", "class_source1")}
    found = [step(state, rows)[0].batch_stats["classifier"] for rows in (batch, changed)]
    for layer in ("bn1", "bn2"):
        for key in ("mean", "var"):
            for domain in (0, 2):
                np.testing.assert_array_equal(
                    found[0][layer][key][domain],
                    found[1][layer][key][domain],
                    err_msg=f"{layer} {key} {domain}",
                )
    kernel = np.asarray(state.params["classifier"]["fc1"]["kernel"])
    for stats, rows in zip(found, (batch, changed), strict=True):
        expected = 0.0
        for name in ("source1", "class_source1"):
            expected = 0.9 * expected + 0.1 * (rows[name]["image"] @ kernel).mean(0)
        # float32 sums
        np.testing.assert_allclose(stats["bn1"]["mean"][1], expected, rtol=1e-5, atol=1e-6)


def test_weights_that_are_no_constants_pull_by_their_own_slope(step):
    """w_e = (1 / c_e) / sum_i (1 / c_i), so dw_e / dc_j = w_e w_j / c_j - [e = j] w_e / c_e: the
    switch adds to a step
    -rate * beta * sum_e D_e dw_e / dc_j grad c_j."""
    config, model, batch = stage(), network(SOURCES + 1), make_batch(0)
    config.weight_stop_gradient = False
    state = initial(config, model)
    constant, metrics = step(state, batch)
    moving, _ = jax.jit(
        lambda state, batch: mscan.train_step(state, batch, None, config=config, model=model)
    )(state, batch)
    ce, discrepancies, w = (
        np.array([metrics[f"{name}{e}"] for e in range(SOURCES)])
        for name in ("ce", "cdd", "weight")
    )
    # [E], of each cross-entropy
    slopes = config.cdd.weight * discrepancies @ (np.outer(w, w / ce) - np.diag(w / ce))

    def pulled(head):
        """sum_j slope_j c_j as a function of the head alone."""
        total = 0.0
        for e, slope in enumerate(slopes):
            output, _ = forward_train(
                model,
                state.params,
                state.batch_stats,
                batch[f"source{e}"],
                norm_set=e,
                axis_name=None,
            )
            total += (
                slope
                * cross_entropy(
                    output.features @ head["kernel"] + head["bias"][None],
                    jnp.asarray(batch[f"source{e}"]["label"]),
                ).mean()
            )
        return total

    gradient = jax.grad(pulled)(state.params["classifier"]["head"])["kernel"]
    rate = metrics["learning_rate"] * dict(config.optimizer.lr_multipliers).get("head/", 1.0)
    found = (
        moving.params["classifier"]["head"]["kernel"]
        - constant.params["classifier"]["head"]["kernel"]
    )
    assert np.abs(rate * gradient).max() > 1e-5, "the switch must be seen"
    # of two nearly equal numbers
    np.testing.assert_allclose(found, -rate * gradient, rtol=0, atol=0.01 * np.abs(found).max())


def test_a_wrong_number_of_sources_or_an_unknown_choice_is_one_clear_line():
    with pytest.raises(UserError, match="target_bn=3: the data have 2 source"):
        initial(stage(3), network(4))
    for key, match in (
        ("weighting", "weighting='x': unknown; known: bsa"),
        ("clustering.ensemble", "clustering.ensemble='x': unknown; known: mean"),
    ):
        config = stage()
        config.update_from_flattened_dict({key: "x"})
        with pytest.raises(UserError, match=match):
            initial(config, network(SOURCES + 1))
    with pytest.raises(ValueError, match="two sources or more"):
        mscan_config.get_config("digits,source=type")
