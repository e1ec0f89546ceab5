"""What holds for every method, with the real network: devices, what changes, one compilation, a
checkpoint in the middle.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipes
from tiny_segmenter import tiny_segmenter
from toy_classifier import TwoHeads

from benchmarks.method_steps import STAGES
from dajax import parallel
from dajax.engine import teacher
from dajax.engine.checkpoint import Checkpoints
from dajax.methods import METHODS, Sizes, interface, is_for
from dajax.models.build import build_model
from dajax.optim import make_schedule
from dajax.recipes.base import common as base
from dajax.recipes.base import deeplab

SHAPE, CLASSES = (16, 16, 1), 4
TOY_SHAPE, SEG_SHAPE = (12,), (32, 48, 3)
SIZES = Sizes(source=40, target=24, num_sources=3)
# What a method of today differs in; a new one has a case without being named here: the first
# variant of the recipe of its name, its stage of that name, a toy in place of a residual network,
# and parts "source" and "target".
CASES = tuple(name for name, method in METHODS.items() if hasattr(method, "train_step"))
SEGMENTATION = {name for name in CASES if not is_for(METHODS[name], "classification")}
RESIDUAL = ("source_only", "adabn", "dann")
FROZEN = {"shot": "/head/"}  # parameters that a method leaves as they are
# of the segmenter; "single" without
HEADS = {"adaptsegnet": "multi", "clan": "twin", "entropy_minimization": "multi"}


def stage_config(name):
    recipe, argument, stage = STAGES.get(name, (name, None, name))
    config = recipes.get_config(recipe, argument)[stage]
    if name in SEGMENTATION:
        # the authors'; Adam's first step is the sign of a gradient, rounding included
        config.optimizer = deeplab.poly_sgd(0.01)
        if "adversarial" in config:
            config.target_hw, config.adversarial.width = SEG_SHAPE[:2], 4
    if "reversal" in config:
        # a gradient from the first step on
        config.reversal.low, config.discriminator_width = 0.3, 8
    if name == "source_only_seg":
        config.lovasz_weight = 0.75
    if name == "cdan":
        config.randomized_dim = 7
    if "guidance" in config:  # of a network that is sure of nothing
        config.guidance.update(weight=0.5, threshold=0.3)
        config.target_loss.aux_weight = 0.1
    if name == "m3sda":
        config.num_k = 1  # each is another copy of its passes to compile
    if "feature_distance" in config:  # every switch on
        config.feature_distance.update(weight=0.1, classes=(0, 2), min_share=0.5)
        config.masked.update(weight=1.0, block=8, images="both")
        config.threshold, config.ignore_bottom, config.mix.classes_of = 0.3, 4, "batch"
    if "class_aware" in config:
        config.class_aware.update(
            num_classes=3, source_per_class=2, target_per_class=2, max_share=1.0
        )
    return config


def classifier(name, config):
    """A network and the shape of its images: a toy where a residual one has been with another
    method and takes long to compile.
    """
    if name not in RESIDUAL:
        # Dropout in all of them, whether tllib's network of the method has it or not: several
        # devices must drop what one does.
        return (
            TwoHeads(
                CLASSES,
                (8, 6),
                num_domains=config.target_bn + 1,
                stops=False,
                head_widths=(6,),
                dropout=0.2,
            ),
            TOY_SHAPE,
        )
    network = base.base("").model
    network.update(backbone="resnet_small", widths=(4, 4, 8))
    if name == "dann":
        network.update(bottleneck=6, dropout=0.2)
    return build_model(network, config, num_classes=CLASSES), SHAPE


def make(name):
    config = stage_config(name)
    if name in SEGMENTATION:
        heads, shape = HEADS.get(name, "single"), SEG_SHAPE
        # Of one stage, PLCA's pixels are so alike that rounding decides which are associated.
        model = tiny_segmenter(
            config,
            heads=heads,
            num_classes=CLASSES,
            aspp_rates=(1, 2),
            stages=4 if name == "plca" else None,
        )
    else:
        model, shape = classifier(name, config)
    assert config.method == name
    method = METHODS[name]

    def initial_state():
        state = method.init(
            jax.random.key(0),
            jnp.zeros((2, *shape)),
            config=config,
            model=model,
            sizes=SIZES,
        )
        state = teacher.begin(state, config)
        return interface.at_start(method, state, config=config, model=model)

    def train_step(state, batch, rng, axis_name):
        after, metrics = method.train_step(
            state, batch, rng, config=config, model=model, axis_name=axis_name
        )
        return teacher.follow(state, after, config, method), metrics

    return initial_state, train_step


def make_seg_batch(seed):
    """One row a device, its pixels ignored unevenly: from none to nearly all."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(8, *SEG_SHAPE)).astype(np.float32)
    labels = rng.integers(0, CLASSES, (4, *SEG_SHAPE[:2])).astype(np.int32)
    for row in range(4):
        labels[row, : row * 10] = 255
    mask = np.ones(4, bool)
    labelled = {"image": images[:4], "label": labels, "mask": mask}
    source = {key: value.copy() for key, value in labelled.items()}
    target = {"image": images[4:], "label": np.roll(labels, 7, axis=2), "mask": mask.copy()}
    return {"labelled": labelled, "source": source, "target": target}


def make_batch(seed, shape):
    """Parts for every method; rows masked unevenly over four devices, class blocks (3 x 2, padded
    to 8) short in one class.
    """
    rng = np.random.default_rng(seed)

    def part(rows, valid, labels=False):
        batch = {
            "image": rng.normal(size=(rows, *shape)).astype(np.float32),
            "mask": np.array(valid),
        }
        return batch | (
            {"label": np.where(batch["mask"], rng.integers(0, CLASSES, rows), -1).astype(np.int32)}
            if labels
            else {}
        )

    batch = {
        "source": part(8, [1, 1, 1, 1, 0, 0, 1, 1] == np.ones(8), labels=True),
        "target": part(8, np.array([1, 0, 1, 1, 1, 1, 0, 0], bool)),
        "class_source": part(8, np.array([1, 1, 1, 0, 1, 1, 0, 0], bool)),
        "class_target": part(8, np.array([1, 1, 1, 1, 0, 1, 0, 0], bool)),
    }
    # a class that the second source has not
    blocks = ([1, 1, 1, 0, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 0, 0], [1, 0, 0, 1, 1, 0, 0, 0])
    for i, mask in enumerate(blocks):
        batch |= {
            f"source{i}": part(4, np.arange(4) < 4 - i, labels=True),
            f"class_source{i}": part(8, np.array(mask, bool)),
        }
    return batch


PARTS = {
    "source_only": ("source",),
    "adabn": ("target",),
    "can": ("source", "class_source", "class_target"),
    "source_only_seg": ("labelled",),
    "self_training": ("target",),
    "shot": ("target",),
    "m3sda": ("source0", "source1", "source2", "target"),
    "mscan": (
        *(f"{kind}{i}" for i in range(3) for kind in ("source", "class_source")),
        "class_target",
    ),
}


def parts_of(name, seed):
    batch = (
        make_seg_batch(seed)
        if name in SEGMENTATION
        else make_batch(seed, SHAPE if name in RESIDUAL else TOY_SHAPE)
    )
    batch = {part: batch[part] for part in PARTS.get(name, ("source", "target"))}
    if name == "self_ensemble":
        batch["target"]["strong_image"] = batch["target"]["image"][::-1].copy()
    if name == "shot":
        mask = batch["target"]["mask"]
        batch["target"]["index"] = np.where(mask, np.arange(len(mask)), -1).astype(np.int32)
    return batch


def flat(state):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.array(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


# Their steps are like those of CLAN, PLCA, self_training, DANN, DAN, MCC and MCD; what is theirs
# alone the golden files hold to the authors'.
SLOW = (
    *("adaptsegnet", "entropy_minimization", "source_only_seg"),
    *("source_only", "cdan", "jan", "afn", "m3sda"),
)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CASES],
)
def trained(request):
    """Name, initial state, and the states after two steps on one and on four devices, with the
    compiled one-device step.
    """
    init, train_step = make(request.param)
    start, outcomes = jax.jit(init)(), []  # operation by operation it takes many times as long

    def initial_state():
        return jax.tree.map(jnp.copy, start)  # a step consumes the state it is given

    for devices in (jax.devices()[:1], jax.devices()):
        step, state = parallel.compile_train_step(train_step, devices), initial_state()
        states = []
        for seed in range(2):
            state, metrics = step(state, parts_of(request.param, seed), jax.random.key(0))
            states.append(flat(state))
        outcomes.append((step, states, jax.device_get(metrics)))
    return request.param, initial_state, outcomes


def test_every_method_that_takes_steps_has_a_case():
    """And nothing is said of one that there is not."""
    assert len(CASES) > 14 and SEGMENTATION < set(CASES)
    assert {*STAGES, *RESIDUAL, *HEADS, *PARTS, *SLOW, *FROZEN} <= set(CASES)


def test_a_step_logs_the_learning_rate_of_every_optimiser(trained):
    """Of the schedule at the step that was done, the second; networks with an optimiser each have a
    figure each.
    """
    name, _, ((_, _, metrics), _) = trained
    config = stage_config(name)
    found = {key for key in metrics if key.startswith("learning_rate")}
    parts = {
        "adaptsegnet": ("segmenter", "discriminator", "discriminator_aux"),
        "clan": ("segmenter", "discriminator"),
        "fada": ("segmenter", "discriminator"),
        "mcd": ("generator", "classifiers"),
        "m3sda": ("generator", "classifiers"),
        "adabn": (),
    }
    expected = (
        [f"learning_rate_{part}" for part in parts[name]] if name in parts else ["learning_rate"]
    )
    assert found == set(expected)
    for rate in expected[:1]:
        schedule = make_schedule(config.optimizer, config.steps if "steps" in config else 0)
        np.testing.assert_allclose(metrics[rate], schedule(1), rtol=1e-6)


def test_four_devices_are_one_device(trained):
    """Parameters and statistics to 1e-5 of each array, momentum to 1e-4 of its largest entry.

    Gradients of a norm cancel, so that rounding shows, on one processor more than on another:
    PLCA's first norm is off by less than 1e-4 on one and by 2e-4 on another, so PLCA's momentum
    alone is allowed 5e-4. The second step meets
    a network that the first threw far (gradient norm 24 at a rate of 0.01), which multiplies
    rounding: there 1e-5 of a parameter's unit.
    """
    method, _, ((_, one, one_metrics), (_, four, four_metrics)) = trained
    moments = 5e-4 if method == "plca" else 1e-4
    for name, value in one[0].items():
        # A discriminator's gradient nearly cancels between the domains, and Adam divides by its
        # size: rounding grows in its moments, and its parameters agree to 1e-5 of their unit.
        tolerance = (
            moments if any(moment in name for moment in ("/mu/", "/nu/", "/trace/")) else 1e-5
        )
        # A bias begins at 0 and holds, after a step, the rate times a sum that nearly cancels: at
        # least 1e-2 is its unit; of one before a norm, whose gradient is rounding alone, 0.1.
        least = 0.1 if name.endswith("second_head/hidden0/dense/bias") else 1e-2
        unit = 1.0 if name.startswith("params/discriminator") else max(np.abs(value).max(), least)
        np.testing.assert_allclose(
            four[0][name], value, rtol=0, atol=tolerance * unit, err_msg=name
        )
    for name, value in one[1].items():
        if name.startswith(("params/", "batch_stats/")):
            np.testing.assert_allclose(
                four[1][name],
                value,
                rtol=0,
                atol=1e-5 * max(np.abs(value).max(), 1.0),
                err_msg=name,
            )
    for name, value in one_metrics.items():
        np.testing.assert_allclose(four_metrics[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_two_steps_change_what_they_should_and_nothing_else(trained):
    method, initial_state, ((_, states, _), _) = trained
    before, after = flat(initial_state()), states[-1]
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    params = {name for name in before if name.startswith("params/")}
    frozen = {name for name in params if method in FROZEN and FROZEN[method] in name}
    assert not frozen & changed and (method not in FROZEN or frozen)
    params -= frozen
    stats = {name for name in before if name.startswith("batch_stats/")}
    momentum = {name for name in before if "trace" in name}
    assert after["step"] == 2 and "step" in changed
    remembered = {name for name in changed if name.startswith("extra/")}
    averages = {"mscan": {"extra/bsa_ce"}}.get(method, set())
    averages |= {name for name in before if name.startswith(f"extra/{teacher.TEACHER}/")}
    assert remembered <= averages or method in ("spcl", "bicl", "proda"), (
        "only a refresh changes what other methods remember"
    )
    if method == "adabn":
        assert changed == {"step"} | stats, "AdaBN trains nothing"
    else:
        assert params <= changed and stats <= changed and momentum <= changed


def test_ten_steps_compile_once_though_classes_come_and_go(trained):
    name, initial_state, ((step, _, _), _) = trained
    state = initial_state()
    compiled = step._cache_size()
    for seed in range(10):
        batch = parts_of(name, seed)
        for part in batch.values():
            part["mask"] &= np.random.default_rng(seed).random(len(part["mask"])) < 0.7
        state, metrics = step(state, batch, jax.random.key(0))
    assert step._cache_size() == compiled
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_checkpoint_in_the_middle_changes_no_bit(trained, tmp_path):
    name, initial_state, ((step, states, _), _) = trained
    state, _ = step(initial_state(), parts_of(name, 0), jax.random.key(0))
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(state, {})
    checkpoints.wait()
    restored, _ = checkpoints.restore(initial_state())
    state, _ = step(restored, parts_of(name, 1), jax.random.key(0))
    for key, value in flat(state).items():
        np.testing.assert_array_equal(value, states[-1][key], err_msg=key)


def test_nothing_valid_gives_finite_parameters(trained):
    name, initial_state, ((step, _, _), _) = trained
    batch = parts_of(name, 0)
    for part in batch.values():
        part["mask"][:] = False
    state, metrics = step(initial_state(), batch, jax.random.key(0))
    assert all(np.isfinite(value).all() for value in flat(state).values())
    # CLAN's weight loss, part of its "loss", looks at no data
    assert metrics.get("segmentation", metrics["loss"]) == 0
