"""PLCA's losses as a whole against the authors' Solver.association (plca_total.npz), its options,
and micro-batches.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import labelled_source_and_target
from compare import assert_close, assert_value
from golden_arrays import between, channels_first, channels_last, ints, names_in
from ml_collections import ConfigDict
from tiny_segmenter import tiny_segmenter

from dajax.errors import UserError
from dajax.losses.association import Association
from dajax.losses.pair_similarity import pair_similarity
from dajax.methods.segmentation import plca, source_only
from dajax.models.apply import prediction_scores
from dajax.models.aspp import SegOutput
from dajax.models.build import build_segmenter
from dajax.ops.labels import IGNORED
from dajax.ops.metrics import confusion_matrix
from dajax.ops.resize import resize_bilinear
from dajax.recipes import plca as plca_config
from dajax.recipes.base import deeplab
from dajax.recipes.base import segmentation as seg_base

# tests/golden/README.md, a float32 port.
LOSS, GRAD = 2e-6, 2e-5
INPUTS = ("feats_S", "feats_T", "logits_S", "logits_T")


# Of each of the file's cases: the weight of Lovasz, 0.75 times iter_size.
CASES = {
    f"iter{size}": 0.75 * int(size)
    for size in between(names_in("plca_total"), "iter", "/association")
}


def authors(**changes):
    """The released settings, which the file does not hold: one process and one micro-batch."""
    config = plca_config.get_config("gta5_to_cityscapes,weights=none,settings=paper").plca
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def total(golden):
    """({input: array NHWC}, batch, {case: arrays})."""
    cases = golden("plca_total")
    arrays = cases[""]
    mask = np.ones(len(arrays["gt_S"]), bool)
    batch = {
        "source": {"label": ints(arrays["gt_S"]), "mask": mask},
        "target": {"mask": mask},
    }
    return {name: channels_last(arrays[name]) for name in INPUTS}, batch, cases


def evaluate(inputs, batch, config):
    def loss_fn(inputs):
        outputs = (
            SegOutput(inputs[f"feats_{domain}"], inputs[f"logits_{domain}"], None)
            for domain in "ST"
        )
        return plca.losses(*outputs, batch, config=config)

    (loss, terms), grads = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(inputs)
    return loss, terms, grads


@pytest.mark.parametrize("implementation", ["dense", "blocked"])
def test_every_term_and_gradient_is_the_authors(total, implementation):
    inputs, batch, cases = total
    for case, weight in CASES.items():
        expected = cases[case]
        changes = {"association.implementation": implementation, "lovasz_weight": weight}
        loss, terms, grads = evaluate(inputs, batch, authors(**changes))
        assert_value(loss, expected["total"], LOSS)
        assert_value(terms["association_feature"], expected["association"], LOSS)
        assert_value(terms["association_prediction"], expected["association_cls"], LOSS)
        assert_value(terms["smoothing_source"], expected["lsr_S"], LOSS)
        assert_value(terms["smoothing_target"], expected["lsr_T"], LOSS)
        supervised = terms["segmentation"] + weight * terms["lovasz"]
        assert_value(supervised, expected["ce_loss"], LOSS)
        for name in between(expected, "grad_"):
            found = channels_first(grads[name])
            assert_close(found, expected[f"grad_{name}"], GRAD, err_msg=f"{case} {name}")


def test_the_switches_are_the_authors(total):
    inputs, batch, cases = total
    weight, aggregation = CASES["iter1"], "association.aggregation_alpha"
    changes = {"lovasz_weight": weight, aggregation: 0.0}
    loss, _, _ = evaluate(inputs, batch, authors(**changes))
    assert_value(loss, cases["iter1_nospagg"]["total"], LOSS)
    changes = {"lovasz_weight": weight, "label_smoothing.weight": 0.0}
    changes["association.prediction_level"] = False
    loss, terms, _ = evaluate(inputs, batch, authors(**changes))
    assert_value(loss, cases["iter1_featonly"]["total"], LOSS)
    assert not {"association_prediction", "smoothing_source"} & terms.keys()


def test_logits_are_upsampled_as_the_authors_do(total):
    """The file holds the first classes of the first image."""
    inputs, batch, cases = total
    size, expected = batch["source"]["label"].shape[1:], cases[""]["logits_S_up0"]
    upsampled = channels_first(resize_bilinear(inputs["logits_S"], size, align_corners=False))
    num_images, num_classes = expected.shape[:2]
    assert_close(upsampled[:num_images, :num_classes], expected, 1e-6)  # float32


@pytest.mark.parametrize("kind", plca.KINDS)
def test_without_a_label_nothing_is_associated_and_all_stays_finite(total, kind):
    inputs, batch, _ = total
    void = {
        "source": batch["source"] | {"label": jnp.full_like(batch["source"]["label"], IGNORED)},
        "target": batch["target"],
    }
    loss, terms, grads = evaluate(inputs, void, authors(**{"association.kind": kind}))
    for name in (
        "segmentation",
        "lovasz",
        "association_feature",
        "association_prediction",
        "valid_cycles_feature",
    ):
        assert terms[name] == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((loss, grads)))


def test_sim_plca_draws_associated_pixels_together(total):
    inputs, batch, _ = total
    config = authors(
        **{
            "association.kind": "similarity",
            "association.aggregation_alpha": 0.0,
            "association.prediction_level": False,
        }
    )
    _, before, grads = evaluate(inputs, batch, config)
    moved = inputs | {
        name: inputs[name] - 0.1 * grads[name] / jnp.abs(grads[name]).max()
        for name in ("feats_S", "feats_T")
    }
    _, after, _ = evaluate(moved, batch, config)
    assert -2 <= after["association_feature"] < before["association_feature"] <= 2, (
        "minus the sum of two cosines"
    )


@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_source_only_with_lovasz_is_plca_without_its_terms_and_passes(accumulate):
    """The authors' METHOD source_only: parameters move as PLCA's with nothing but the source's loss
    do. Only the running statistics, which have not met the target, are others.
    """
    rows = plca_config.get_config("ablations_gta5,weights=none")
    batch = labelled_source_and_target(0, (4, 16, 24, 3), 3)
    moved = []
    for name, method in (("source_only", source_only), ("plca", plca)):
        config = rows[name]
        config.update(accumulate=accumulate, optimizer=deeplab.poly_sgd(0.01))
        if name == "plca":
            config.update_from_flattened_dict(
                {"association.feature_level": False} | plca_config.NO_PREDICTION
            )
            config.update_from_flattened_dict(plca_config.NO_SMOOTHING)
        model = tiny_segmenter(config, heads="single", num_classes=3)
        state = method.init(
            jax.random.key(0), jnp.zeros((2, 16, 24, 3)), config=config, model=model
        )
        parts = batch if name == "plca" else {"labelled": batch["source"]}
        after, metrics = jax.jit(functools.partial(method.train_step, config=config, model=model))(
            state, parts, jax.random.key(0)
        )
        moved.append((after, metrics))
        assert config.lovasz_weight == 3.0 and metrics["lovasz"] > 0
    (one, one_metrics), (other, other_metrics) = moved
    for name in ("loss", "segmentation", "lovasz"):
        assert_value(one_metrics[name], other_metrics[name], 1e-5)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    seen, both = (jax.tree.leaves(x.batch_stats)[0] for x in (one, other))
    assert np.abs(seen - both).max() > 1e-4


def tiny_step(accumulate):
    """(train_step of a small network, its state)."""
    config = plca_config.get_config("scenes").plca
    config.accumulate, config.optimizer = accumulate, deeplab.poly_sgd(0.01)
    model = tiny_segmenter(config, heads="single", num_classes=3)
    state = plca.init(jax.random.key(0), jnp.zeros((2, 16, 24, 3)), config=config, model=model)

    def step(state, batch):
        return plca.train_step(state, batch, jax.random.key(0), config=config, model=model)

    return jax.jit(step), state


@pytest.mark.slow  # two whole programs; the golden files hold every term
def test_two_equal_micro_batches_give_the_gradient_of_one():
    once = labelled_source_and_target(0, (2, 16, 24, 3), 3)
    # rows a a b b: every second one makes a micro-batch
    twice = jax.tree.map(lambda leaf: leaf.repeat(2, axis=0), once)
    one_step, state = tiny_step(1)
    two_steps, _ = tiny_step(2)
    (one, one_metrics), (two, two_metrics) = one_step(state, once), two_steps(state, twice)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    assert_value(one_metrics["loss"], two_metrics["loss"], 1e-5)
    moved = np.abs(jax.tree.leaves(two.batch_stats)[0] - jax.tree.leaves(state.batch_stats)[0])
    less = np.abs(jax.tree.leaves(one.batch_stats)[0] - jax.tree.leaves(state.batch_stats)[0])
    assert (moved > less).all(), "each micro-batch moves the running statistics"


def test_unknown_kinds_and_second_heads_are_refused():
    config = plca_config.get_config("scenes")
    model = build_segmenter(ConfigDict(seg_base.small_network("twin")), config.plca, num_classes=3)
    with pytest.raises(
        UserError, match="config.model.heads='twin': set it to 'single', which plca needs"
    ):
        plca.init(
            jax.random.key(0),
            jnp.zeros((1, 32, 32, 3)),
            config=config.plca,
            model=model,
        )
    config.plca.association.kind = "simplca"
    with pytest.raises(
        UserError, match="association.kind='simplca': unknown; known: contrast, similarity"
    ):
        plca.init(
            jax.random.key(0),
            jnp.zeros((1, 32, 32, 3)),
            config=config.plca,
            model=model,
        )


def test_pairs_that_agree_are_as_similar_as_can_be():
    rng = np.random.default_rng(0)
    probabilities = jax.nn.softmax(jnp.asarray(rng.normal(size=(1, 2, 3, 4)), jnp.float32))
    same = jnp.arange(6, dtype=jnp.int32)[None]
    itself = Association(values=None, mask=None, target_index=same, end_index=same)
    np.testing.assert_allclose(
        pair_similarity(probabilities, probabilities, itself, metric="cosine"), 2.0, rtol=1e-6
    )
    np.testing.assert_allclose(
        pair_similarity(probabilities, probabilities, itself, metric="negative_kl"), 0.0, atol=1e-6
    )
    other = Association(values=None, mask=None, target_index=same[:, ::-1], end_index=same)
    a, b = np.asarray(probabilities[0, 0, 0]), np.asarray(probabilities[0, 1, 2])
    expected = -(a * np.log(a / b)).sum() - (b * np.log(b / a)).sum()
    np.testing.assert_allclose(
        pair_similarity(probabilities, probabilities, other, metric="negative_kl")[0, 0],
        expected,
        rtol=1e-5,
    )


FLIPPED = 2  # pixels whose prediction float32 may change, tests/golden/README.md


class Pointwise:
    """A segmenter whose head is one matrix, as in plca_testtime.npz."""

    def classify(self, params, features):
        return jnp.einsum("nhwc,mc->nhwm", features, params, precision="highest")

    def prediction_logits(self, output):
        return output.logits


def test_aggregation_at_test_time_is_the_authors(golden):
    arrays, model = golden("plca_testtime")[""], Pointwise()
    features = channels_last(arrays["feats"])
    kernel = jnp.asarray(arrays["cls_w"][:, :, 0, 0], jnp.float32)
    output = SegOutput(features, model.classify(kernel, features), None)
    recipe = plca_config.get_config("gta5_to_cityscapes,weights=none").evaluation
    size, scores, predictions = arrays["gt"].shape[1:], {}, {}
    for alpha, name in ((recipe.aggregation_alpha, "pred_agg"), (0.0, "pred_noagg")):
        run = functools.partial(prediction_scores, model, aggregation_alpha=alpha)
        scores[name] = jax.jit(run)(kernel, output)
        resized = resize_bilinear(scores[name], size, align_corners=False)
        predictions[name] = resized.argmax(-1).astype(jnp.int32)
        assert (np.asarray(predictions[name]) != arrays[name]).sum() <= FLIPPED
    found = channels_first(scores["pred_agg"])
    assert_close(found, arrays["probs_agg"], 1e-6, unit=1.0)  # of a probability, float32
    counts = confusion_matrix(
        ints(arrays["gt"]), predictions["pred_agg"], jnp.ones(arrays["gt"].shape, bool), len(kernel)
    )
    assert np.abs(np.asarray(counts) - arrays["confmat"]).sum() <= 2 * FLIPPED
