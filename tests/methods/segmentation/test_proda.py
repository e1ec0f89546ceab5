"""ProDA's labels, losses and prototypes against the authors' code (tier2_proda)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import labelled_source_and_target
from compare import assert_close, assert_trees_equal
from golden_arrays import between, channels_last, ints
from tiny_segmenter import tiny_segmenter

from dajax.engine import teacher as teachers
from dajax.errors import UserError
from dajax.losses.entropy import entropy_map
from dajax.losses.segmentation import cross_entropy_map, valid_pixels
from dajax.losses.soft_labels import (
    distillation_map,
    reverse_cross_entropy_map,
    uniform_divergence_map,
)
from dajax.methods import interface
from dajax.methods.segmentation import proda
from dajax.ops import prototypes as proto
from dajax.ops import rectification as rect
from dajax.parallel import masked_mean
from dajax.recipes import proda as recipe
from dajax.state import TEACHER

TOLERANCE = 1e-4  # tests/golden/README.md, "Second-tier baselines", of float32
NO_CLASS = 250  # of the authors' label maps
CONFIG = recipe.get_config("gta5_to_cityscapes,weights=none").proda


@pytest.fixture(scope="module")
def case(golden):
    return golden("tier2_proda")[""]


def labels_of(array):
    return ints(np.where(array == NO_CLASS, 255, array))


def all_known(case):
    return jnp.ones(len(case["prototypes"]), bool)


def prototypes_of(case, key="prototypes"):
    return jnp.asarray(case[key], jnp.float32)


def assignment(case, features):
    distances = rect.prototype_distances(features, prototypes_of(case))
    return rect.log_assignment(distances, all_known(case), temperature=CONFIG.temperature)


def test_rectified_labels_are_the_authors(case):
    features, soft = channels_last(case["feature"]), channels_last(case["soft_label"])
    distances = rect.prototype_distances(features, prototypes_of(case))
    assert_close(distances, channels_last(case["prototype_distance"]), TOLERANCE)
    weights = assignment(case, features)
    assert_close(jnp.exp(weights), channels_last(case["prototype_weight"]), TOLERANCE)
    for end in between(case, "rectified_label"):
        number = end.removeprefix("_thres_").replace("_", ".")
        threshold = float(number or CONFIG.threshold)
        found = rect.rectified_labels(weights, soft, threshold=threshold)
        np.testing.assert_array_equal(found, labels_of(case[f"rectified_label{end}"]))


def of_labelled(values, labels):
    return masked_mean(values, valid_pixels(labels, jnp.ones(len(labels), bool)))


def losses(labels):
    clips = dict(
        smallest_probability=CONFIG.smallest_probability, smallest_label=CONFIG.smallest_label
    )
    ce = lambda x: of_labelled(cross_entropy_map(x, labels), labels)
    rce = lambda x: of_labelled(reverse_cross_entropy_map(x, labels, **clips), labels)
    kld = lambda x: uniform_divergence_map(x).mean()
    return {
        "ce": ce,
        "rce": rce,
        "mrkld": kld,
        "mrent": lambda x: -entropy_map(x).mean(),
        "total": lambda x: (
            CONFIG.ce_weight * ce(x) + CONFIG.rce_weight * rce(x) + CONFIG.kld_weight * kld(x)
        ),
    }


def test_losses_and_gradients_are_the_authors(case):
    logits, labels = channels_last(case["logits"]), labels_of(case["label_250"])
    found = jax.jit(
        lambda x: {name: jax.value_and_grad(of)(x) for name, of in losses(labels).items()}
    )(logits)
    for name, (value, grad) in found.items():
        assert_close(value, case[f"{name}_loss"], TOLERANCE, err_msg=name)
        assert_close(grad, channels_last(case[f"{name}_grad"]), TOLERANCE, err_msg=name)


def distilled(teacher, as_released):
    return lambda x: distillation_map(x, teacher, as_released=as_released).mean()


def test_distillation_and_its_gradient_are_the_authors_and_the_formulas(case):
    logits, teacher = channels_last(case["logits"]), channels_last(case["teacher_logits"])
    for end, as_released in (("code", True), ("formula", False)):
        of = jax.jit(jax.value_and_grad(distilled(teacher, as_released)))
        value, grad = of(logits)
        assert_close(value, case[f"distillation_loss_{end}"], TOLERANCE)
        assert_close(grad, channels_last(case[f"distillation_grad_{end}"]), TOLERANCE)


def test_distillation_by_hand():
    """Of q = (3/4, 1/4) and p = (1/2, 1/2); the teacher gets no gradient, and is sure of a class
    without a NaN.
    """
    teacher, student = jnp.log(jnp.array([[[[3.0, 1.0]]]])), jnp.zeros((1, 1, 1, 2))
    q = np.array([0.75, 0.25])
    meant = distillation_map(student, teacher, as_released=False)
    np.testing.assert_allclose(meant, [[[(q * np.log(q / 0.5)).sum() / 2]]], rtol=1e-6)
    released = distillation_map(student, teacher)
    np.testing.assert_allclose(released, [[[(q * (np.log(q) - 0.5)).sum() / 2]]], rtol=1e-6)
    assert not jax.grad(lambda x: distillation_map(student, x).sum())(teacher).any()
    for as_released in (True, False):
        value, grad = jax.value_and_grad(distilled(1e4 * teacher, as_released))(1e4 * teacher)
        assert np.isfinite(value) and np.isfinite(grad).all()


def test_the_terms_of_labels_together_are_the_authors(case):
    logits, labels = channels_last(case["logits"]), labels_of(case["label_250"])
    mask = jnp.ones(len(labels), bool)
    loss, terms = jax.jit(lambda *arrays: proda.label_loss(*arrays, mask, config=CONFIG))(
        logits, labels
    )
    assert_close(loss, case["total_loss"], TOLERANCE)
    assert terms.keys() == {"ce", "rce", "kld"}


def test_consistency_and_its_gradient_are_the_authors(case):
    """Of the pixels that count, and the method's own of whole images."""
    features, distances = channels_last(case["strong_feature"]), case["teacher_distance"]
    counted = jnp.asarray((distances != NO_CLASS).all(1))
    teacher = rect.log_assignment(
        channels_last(distances), all_known(case), temperature=CONFIG.temperature
    )

    def consistency(features):
        student = assignment(case, features)
        return masked_mean(rect.assignment_divergence_map(teacher, student), counted)

    value, grad = jax.jit(jax.value_and_grad(consistency))(features)
    assert_close(value, case["consist_loss"], TOLERANCE)
    assert_close(grad, channels_last(case["consist_grad_feature"]), TOLERANCE)
    extra = {"prototypes": prototypes_of(case), "known": all_known(case)}
    mask = jnp.arange(len(features)) < len(features) - 1  # the last row is padding
    found = proda.consistency(features, teacher, mask, extra, config=CONFIG)
    whole = rect.assignment_divergence_map(teacher, assignment(case, features))[:-1].mean()
    assert_close(found, whole, TOLERANCE)


def test_prototypes_begin_and_move_as_the_authors(case):
    features, logits = channels_last(case["feature"]), channels_last(case["mean_logits"])
    mask = jnp.ones(len(features), bool)
    means, present = jax.jit(
        lambda *arrays: proda.image_means(*arrays, min_pixels=CONFIG.min_pixels)
    )(features, logits, mask)
    rows, classes = np.nonzero(present)
    np.testing.assert_array_equal(classes, case["mean_ids"])
    assert_close(means[rows, classes], case["mean_vectors"], TOLERANCE)
    moved, known = rect.move_by_images(
        prototypes_of(case), all_known(case), means, present, decay=CONFIG.prototype_decay
    )
    # of the change, since a ten-thousandth moves
    before = prototypes_of(case)
    change = case["prototypes_moved"] - case["prototypes"]
    assert_close(moved - before, change, TOLERANCE, floor=5e-7)
    empty = proto.empty_totals(*before.shape)
    carry = proda._compiled_add(CONFIG.min_pixels)(empty, features, logits, mask)
    first, has = proto.class_means(*carry[:2])
    assert_close(first, case["prototypes_initial"], TOLERANCE)
    np.testing.assert_array_equal(has, present.any(0))


SHAPE, NUM_CLASSES = (2, 8, 12, 3), 4


def stepper(monkeypatch, **weights):
    """(a state, f(state, brightness of the strong view) -> (state, metrics)) of a tiny network."""
    config = recipe.get_config().proda
    config.update(weights)
    model = tiny_segmenter(config, heads="single", num_classes=NUM_CLASSES)
    shared = dict(config=config, model=model)
    state = teachers.begin(proda.init(jax.random.key(0), jnp.zeros(SHAPE), **shared), config)
    state = interface.at_start(proda, state, **shared)
    prototypes = jax.random.normal(jax.random.key(1), (NUM_CLASSES, 8))
    known = jnp.ones(NUM_CLASSES, bool)
    state = state.replace(extra={**state.extra, "prototypes": prototypes, "known": known})
    batch = jax.device_put(labelled_source_and_target(0, SHAPE, NUM_CLASSES))

    @jax.jit
    def step(state, batch, brightness):
        with monkeypatch.context() as patch:
            view = lambda images, *_: brightness * images + 0.1 * images**2  # not a mere factor
            patch.setattr(proda.strong_view, "strong_view", view)
            return proda.train_step(state, batch, jax.random.key(2), **shared)

    return state, lambda state, brightness: step(state, batch, brightness)


def test_labels_are_learnt_from_the_clean_image_and_consistency_from_the_strong_view(monkeypatch):
    """models/adaptation_modelv2.py, step: target_x unless S_pseudo, and target_imageS."""
    for weights, is_of_view in (
        (dict(consistency_weight=0.0), False),
        (dict(ce_weight=0.0, rce_weight=0.0, kld_weight=0.0), True),
    ):
        state, step = stepper(monkeypatch, **weights)
        one, other = (step(state, brightness)[0] for brightness in (1.0, 0.3))
        if is_of_view:
            with pytest.raises(AssertionError):
                assert_trees_equal(one.params, other.params)
        else:
            assert_trees_equal(one.params, other.params)
        with pytest.raises(AssertionError):  # the third pass moves them in either case
            assert_trees_equal(one.batch_stats, other.batch_stats)


def test_the_batch_normalises_for_the_teacher(monkeypatch):
    """The released code never sets it to evaluation mode."""
    state, step = stepper(monkeypatch)
    others = jax.tree.map(lambda leaf: 3.0 * leaf + 1.0, state.extra[TEACHER]["batch_stats"])
    moved = {**state.extra, TEACHER: {**state.extra[TEACHER], "batch_stats": others}}
    one, other = (step(start, 1.0) for start in (state, state.replace(extra=moved)))
    assert_trees_equal(one[0].params, other[0].params)
    assert_trees_equal(one[1], other[1])
    assert_trees_equal(one[0].extra["prototypes"], other[0].extra["prototypes"])


def test_a_class_without_prototype_is_never_a_label_and_of_none_all_are_alike():
    features = jnp.zeros((1, 1, 1, 2))
    distances = rect.prototype_distances(features, jnp.array([[0.0, 0.0], [3.0, 4.0]]))
    np.testing.assert_allclose(distances, [[[[1e-6, 5.0]]]], rtol=1e-6)
    alone = rect.log_assignment(distances, jnp.array([False, True]), temperature=1.0)
    soft = jnp.array([[[[0.9, 0.1]]]])
    assert rect.rectified_labels(alone, soft, threshold=0.0).item() == 1
    none = rect.log_assignment(distances, jnp.zeros(2, bool), temperature=1.0)
    np.testing.assert_allclose(jnp.exp(none), [[[[0.5, 0.5]]]])
    value, grad = jax.value_and_grad(
        lambda x: rect.log_assignment(
            rect.prototype_distances(x, jnp.zeros((2, 2))),
            jnp.array([True, False]),
            temperature=1.0,
        )[..., 0].sum()
    )(features)
    assert np.isfinite(value) and np.isfinite(grad).all()


def test_without_a_teacher_it_is_refused():
    config = CONFIG.copy_and_resolve_references()
    config.teacher.momentum = 0.0

    class Model:
        heads, detail_hw = "single", ()

    with pytest.raises(UserError, match="teacher.momentum=0.0: prototypes are compared with"):
        proda.init(None, None, config=config, model=Model())
