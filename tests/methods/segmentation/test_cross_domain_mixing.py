"""What a step of cross_domain_mixing is made of: its passes, its teacher, its statistics, and the
mistakes of a config.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import labelled_source_and_target, shapes
from compare import assert_close, assert_trees_close, assert_trees_equal, assert_value
from golden_arrays import between, channels_first, channels_last, ints
from tiny_segmenter import tiny_segmenter

from dajax.engine import teacher
from dajax.errors import UserError
from dajax.methods import interface
from dajax.methods.segmentation import _mean_teacher as mean_teacher
from dajax.methods.segmentation import _mixed_images as mixed_images
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation import cross_domain_mixing as mixing
from dajax.models.apply import forward_train
from dajax.ops.resize import resize_bilinear
from dajax.recipes import dacs, daformer, mic
from dajax.recipes.base import deeplab
from dajax.recipes.base import mixing as mixing_recipes
from dajax.state import TEACHER

SHAPE, NUM_CLASSES = (2, 16, 24, 3), 4
THINGS = (1, 2)


def make(recipe=dacs, **changes):
    """(config, model, initial state) of a recipe's stage with a tiny network."""
    name = recipe.__name__.rpartition(".")[2]
    config = recipe.get_config("scenes")[name]
    config.optimizer = deeplab.poly_sgd(0.01)
    config.feature_distance.classes = THINGS
    # test_every_method.py has them, and they take half of the compilation
    config.color_jitter.probability = config.blur.probability = 0.0
    config.update_from_flattened_dict(changes)
    model = tiny_segmenter(config, heads="single", num_classes=NUM_CLASSES)

    def begun():
        state = mixing.init(jax.random.key(0), jnp.zeros(SHAPE), config=config, model=model)
        state = teacher.begin(state, config)
        return interface.at_start(mixing, state, config=config, model=model)

    return config, model, begun


def batch_of(seed, **sizes):
    return labelled_source_and_target(seed, SHAPE, NUM_CLASSES) | sizes


def test_the_weighted_cross_entropy_and_its_gradient_are_mmsegs(golden):
    """The mean is over all pixels: those without a label are in the divisor."""
    arrays = golden("sota_weighted_ce")[""]
    labels, low = ints(arrays["label"]), channels_last(arrays["low_logits"])
    mask = jnp.ones(len(labels), bool)

    def loss_of(low, weights, labels=labels):
        logits = resize_bilinear(low, labels.shape[1:], align_corners=False)
        return mixing.weighted_cross_entropy(logits, labels, weights, mask)

    upsampled = resize_bilinear(low, labels.shape[1:], align_corners=False)
    assert_close(channels_first(upsampled), arrays["upsampled"], 1e-6)
    for case in between(arrays, suffix="_grad_low"):
        weights = jnp.asarray(arrays.get(f"{case}_weight", np.ones(labels.shape)), jnp.float32)
        loss, grad = jax.jit(jax.value_and_grad(loss_of))(low, weights)
        assert_value(loss, arrays[f"{case}_loss"], 1e-5, err_msg=case)
        assert_close(channels_first(grad), arrays[f"{case}_grad_low"], 1e-5, err_msg=case)
    plain, wrong = arrays["plain_loss"], arrays["mean_over_valid_only_WRONG"]
    assert abs(plain / wrong - 1) > 1e-4, "the file must tell the two means apart"
    ignored = jnp.full_like(labels, 255)
    assert loss_of(low, jnp.ones(labels.shape), ignored) == arrays["all_ignored_loss"] == 0


@pytest.mark.parametrize("word", mixing.CHOICES["source_mean"])
def test_source_mean_says_over_which_pixels(word, monkeypatch):
    """A network of no parameters whose logits are all alike: log K at every labelled pixel."""
    config, model, _ = make(source_mean=word)
    seen = segmenter.Seen(None, None, jnp.zeros((*SHAPE[:3], NUM_CLASSES)), None)
    monkeypatch.setattr(segmenter, "see", lambda params, stats, *_, **__: (seen, stats))
    source = {key: jnp.asarray(value) for key, value in batch_of(0)["source"].items()}
    source["label"] = source["label"].at[:, : SHAPE[1] // 2].set(255)
    settings = dict(part=source, frozen=None, config=config, model=model, axis_name=None)
    loss, _ = mixing.supervised({}, {}, None, **settings)
    assert_value(loss, np.log(NUM_CLASSES) / (2 if word == "all" else 1), 1e-5)


# {recipe and changes: passes in training mode: of the student, the teacher, for statistics}
PASSES = {
    "control": 1 + 0 + 1,
    "dacs": 2 + 1 + 1,
    "dacs as published": 2 + 1,
    "no teacher": 2 + 1 + 1,
    "mic": 3 + 1 + 1,
}


@pytest.mark.parametrize("row", PASSES)
def test_a_weight_of_0_leaves_its_pass_out(row, monkeypatch):
    config, model, begun = {
        "control": lambda: make(),
        "dacs": make,
        "dacs as published": lambda: make(statistics="passes"),
        "no teacher": lambda: make(**{"teacher.momentum": 0.0}),
        "mic": lambda: make(mic),
    }[row]()
    if row == "control":
        config = mixing_recipes.control(config)
    seen, see = [], segmenter.see
    monkeypatch.setattr(segmenter, "see", lambda *a, **k: seen.append(1) or see(*a, **k))
    frozen, forward = [], mixing.forward
    monkeypatch.setattr(mixing, "forward", lambda *a, **k: frozen.append(1) or forward(*a, **k))
    drawn = jax.eval_shape(lambda: jax.random.key(0))
    jax.eval_shape(
        lambda state, batch, rng: mixing.train_step(state, batch, rng, config=config, model=model),
        jax.eval_shape(lambda: teacher.begin(begun(), config)),
        batch_of(0),
        drawn,
    )
    # value_and_grad traces a pass once
    assert len(seen) == PASSES[row] and bool(frozen) == (row == "mic")


@pytest.fixture(scope="module", params=["daformer as published", "dacs"])
def one_step(request):
    """(config, model, state before, state after, metrics) of two kinds of teacher, statistics and
    feature distance.
    """
    if request.param == "dacs":
        config, model, begun = make()
    else:
        config, model, begun = make(daformer, statistics="passes")
    step = jax.jit(
        lambda state, batch: mixing.train_step(
            state, batch, jax.random.key(0), config=config, model=model
        )
    )
    before = jax.jit(begun)()
    return config, model, before, *step(before, batch_of(0))


def seen_by(model, networks):
    """batch_stats of a network after a pass of the clean target images."""
    target = batch_of(0)["target"]
    run = jax.jit(
        lambda params, stats: forward_train(
            model, params, stats, target, norm_set=0, axis_name=None, deterministic=True
        )[1]
    )
    return run(networks["params"], networks["batch_stats"])


def test_daformers_teacher_begins_with_the_initial_network_and_dacs_after_the_first_step(one_step):
    config, _, before, after, _ = one_step
    share = {"initial": 0.5, "first_update": 0.0}[config.teacher.begins_with]
    expected = jax.tree.map(
        lambda old, new: share * old + (1 - share) * new, before.params, after.params
    )
    assert_trees_close(after.extra[TEACHER]["params"], expected, 1e-6, floor=1e-7)


def test_the_teachers_statistics_are_those_of_its_own_passes_of_clean_target_images(one_step):
    _, model, before, after, _ = one_step
    expected = seen_by(model, before.extra[TEACHER])
    assert_trees_close(after.extra[TEACHER]["batch_stats"], expected, 1e-5, floor=1e-6)


def test_the_students_statistics_are_those_that_the_config_says(one_step):
    """Of clean target images alone, or of all passes; the first teacher is the first student."""
    config, model, before, after, _ = one_step
    of_target = seen_by(model, before.extra[TEACHER])
    pairs = zip(jax.tree.leaves(after.batch_stats), jax.tree.leaves(of_target), strict=True)
    agree = [np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs]
    assert all(agree) if config.statistics == "target" else not any(agree)


def test_the_frozen_encoder_is_the_one_that_the_stage_begins_with(one_step):
    config, model, before, after, metrics = one_step
    if not config.feature_distance.weight:
        assert mixing.FROZEN not in after.extra and "feature_distance" not in metrics
        return
    encoder = {
        "params": before.params[model.network]["backbone"],
        "batch_stats": before.batch_stats[model.network]["backbone"],
    }
    assert_trees_equal(after.extra[mixing.FROZEN], encoder)
    assert metrics["feature_distance"] >= 0


def test_every_second_masked_image_is_a_source_image_where_both_are_shown():
    config, _, _ = make(mic, **{"masked.images": "both", "masked.strong_view": False})
    batch, rows = batch_of(0), jnp.arange(2, dtype=jnp.int32)
    source, target = (
        {k: jnp.asarray(v) for k, v in batch[d].items()} for d in ("source", "target")
    )
    labels, weights = jnp.full(SHAPE[:3], 3, jnp.int32), jnp.full(SHAPE[:3], 0.25)
    noise = jnp.zeros((2, 2, 3)).at[:, 0].set(0.9)
    drawn = mixed_images.Drawn(None, None, None, noise, None)
    part, found = mixed_images.masked_part(
        source, target, labels, weights, drawn, rows, config=config
    )
    assert (part["image"][:, 8:] == 0).all(), "hidden pixels have the mean colour"
    np.testing.assert_array_equal(part["image"][0, :8], source["image"][0, :8])
    np.testing.assert_array_equal(part["image"][1, :8], target["image"][1, :8])
    np.testing.assert_array_equal(part["label"][0], source["label"][0])
    assert (part["label"][1] == 3).all()
    assert (found[0] == 1).all() and (found[1] == 0.25).all()


def test_pixels_that_are_not_trusted_weigh_nothing():
    config, model, begun = make()
    target = {k: jnp.asarray(v) for k, v in batch_of(0)["target"].items()}
    trusted = jnp.ones(SHAPE[:3], bool).at[:, :, :5].set(False)
    config.threshold, config.ignore_top = 0.0, 2
    settings = dict(config=config, model=model, axis_name=None)
    run = jax.jit(lambda target: mean_teacher.label_target(begun(), target, **settings)[1])
    weights = run(target | {"trusted": trusted})
    expected = np.ones(SHAPE[:3])
    expected[:, :, :5], expected[:, :2] = 0, 0
    np.testing.assert_array_equal(weights, expected)


@pytest.mark.parametrize(
    "changes, size, says",
    [
        ({}, (16, 16, 3), "found source image 16x24, source label 16x24, target image 16x16; set"),
        (
            {"ignore_top": 9, "ignore_bottom": 7},
            None,
            "ignore_top=9: with ignore_bottom=7 it leaves none",
        ),
        ({"masked.weight": 1.0, "masked.block": 64}, None, "no block of this size fits into an"),
    ],
)
def test_images_that_do_not_fit_are_one_line(changes, size, says):
    config, model, begun = make(**changes)
    batch = batch_of(0)
    if size:
        batch["target"]["image"] = np.zeros((2, *size), np.float32)
    with pytest.raises(UserError) as error:
        mixing.train_step(begun(), batch, jax.random.key(0), config=config, model=model)
    assert says in str(error.value) and "\n" not in str(error.value)
    target_hw = batch["target"]["image"].shape[1:3]
    with pytest.raises(UserError) as before:  # of the shapes, before the run begins
        mixing.check_data(begun(), data=Feed(config, target_hw), config=config, model=model)
    assert str(before.value) == str(error.value)


def test_a_feature_distance_of_no_class_is_refused():
    config, _, begun = make(daformer, **{"feature_distance.classes": ()})
    with pytest.raises(UserError, match=r"feature_distance.classes=\(\): no feature is held; "):
        jax.eval_shape(begun)
    config.feature_distance.weight = 0.0
    jax.eval_shape(begun)


def test_labels_that_make_no_cells_are_said_before_the_run():
    config, model, begun = make(daformer)
    state = jax.eval_shape(begun)

    def check(*size_hw):
        feed = Feed(config, size_hw, size_hw)
        mixing.check_data(state, data=feed, config=config, model=model)

    check(16, 24)
    with pytest.raises(UserError, match=r"feature_distance.weight=0.005: labels of \(17, 25\)"):
        check(17, 25)


class Feed:
    """A feed whose target is normalised otherwise than the stage says, or of another size."""

    def __init__(self, config, target_hw=SHAPE[1:3], source_hw=SHAPE[1:3], **changes):
        self._own, self._changes = config.normalisation, changes
        self._sizes = {"source": source_hw, "target": target_hw}

    def shapes(self, domain):
        return shapes(self._sizes[domain])

    def normalisation(self, domain):
        of_stage = {
            key: tuple(value) if isinstance(value, (tuple, list)) else value
            for key, value in self._own.items()
        }
        return of_stage | (self._changes if domain == "target" else {})

    def __getattr__(self, name):
        return lambda *args, **kwargs: (name, *args, *kwargs.items())


def test_both_domains_are_normalised_as_the_stage_says():
    config, _, _ = make()
    plan = mixing.plan(None, data=Feed(config), config=config)
    assert plan == {
        "source": ("shuffled_with_labels", "source", 4),
        "target": ("shuffled", "target", 4),
    }
    with pytest.raises(
        UserError, match=r"normalisation.std=.*config.data.transforms.target.std is"
    ):
        feed = Feed(config, std=(1.0, 1.0, 1.0))
        mixing.check_data(None, data=feed, config=config, model=None)


def test_rare_classes_and_margins_are_asked_for_where_they_are_set():
    config, _, _ = make(daformer)
    config.margins = (0.1, 0.2, 0.0, 0.0)
    plan = mixing.plan(None, data=Feed(config), config=config)
    assert plan["source"] == ("rare_classes", "source", 4, config.rare_classes)
    assert plan["target"] == ("shuffled", "target", 4, ("margins", (0.1, 0.2, 0.0, 0.0)))


def test_the_weight_of_the_batch_and_that_of_a_device():
    """Of four devices with an image each."""
    config, model, begun = make()
    config.threshold = 0.5
    found = {}
    for word in mixing.CHOICES["weight_of"]:
        config.weight_of = word
        images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 1, *SHAPE[1:])), jnp.float32)
        state = begun()

        def of_device(images, state=state):
            target = {"image": images, "mask": jnp.ones(1, bool)}
            _, weights, _, figures = mean_teacher.label_target(
                state, target, config=config, model=model, axis_name="devices"
            )
            return weights[:, 0, 0], figures["pseudo_weight"]

        found[word] = jax.pmap(of_device, axis_name="devices")(images)
    assert len(np.unique(found["batch"][0])) == 1
    np.testing.assert_allclose(
        np.mean(found["device"][0]), found["batch"][0][0, 0], rtol=1e-5, atol=1e-7
    )
