"""BiCL's step with a network: devices, what it changes, its batch, and settings that it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import part
from bicl_golden import CODE, settings
from tiny_segmenter import tiny_segmenter

from dajax import parallel
from dajax.errors import UserError
from dajax.methods.segmentation import bicl
from dajax.ops.labels import IGNORED
from dajax.recipes.base import deeplab

SHAPE, CLASSES = (16, 24, 3), 4


def stage_config(**changes):
    stage = settings(**{"steps": 10, "batch_size": 4, "labels_from": "labels0"} | changes)
    stage.optimizer = deeplab.poly_sgd(0.01)
    return stage


def make_model(config, heads="single"):
    # All four stages: fewer leave confidences so alike that rounding moves them to another bin.
    return tiny_segmenter(config, heads=heads, num_classes=CLASSES, stages=4)


def make_batch(seed):
    """Rows of four devices: classes that only one device has, labels ignored unevenly, and a padded
    row in the target.
    """
    rng = np.random.default_rng(seed)
    batch = {}
    for domain, num_ignored in (("source", 4), ("target", 10)):
        drawn = rng.integers(0, CLASSES, (4, *SHAPE[:2]))
        label = np.sort(drawn, axis=None).reshape(drawn.shape)
        label[1:, :num_ignored] = IGNORED
        batch[domain] = part(rng.normal(size=(4, *SHAPE)).astype(np.float32), label)
    batch["target"]["mask"][2] = False
    return batch


def flat(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.array(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@pytest.fixture(
    scope="module",
    params=[
        # test_every_method.py has BiCL's four devices, without a share; of "pair" the golden files
        # hold the losses to the authors'
        pytest.param(
            {"contrast_weight": 1.0, "dynamic.share": 0.4}, id="batch", marks=pytest.mark.slow
        ),
        pytest.param(CODE, id="pair", marks=pytest.mark.slow),
    ],
)
def trained(request):
    """Config, initial state, and [(states, metrics)] of three steps on one and on four devices."""
    config = stage_config(**request.param)
    model = make_model(config)

    def initial_state():
        return bicl.init(jax.random.key(0), jnp.zeros((2, *SHAPE)), config=config, model=model)

    outcomes = []
    for devices in (jax.devices()[:1], jax.devices()):
        step = parallel.compile_train_step(
            functools.partial(bicl.train_step, config=config, model=model), devices
        )
        state, states = initial_state(), []
        for seed in range(3):
            state, metrics = step(state, make_batch(seed), jax.random.key(0))
            states.append((flat(state), jax.device_get(metrics)))
        outcomes.append(states)
    return config, flat(initial_state()), outcomes


def test_four_devices_are_one_device(trained):
    """To 1e-5 of each array's largest, or of 1e-3, the unit of biases that hold a nearly cancelling
    sum; the moving prototypes too.
    """
    config, _, (one, four) = trained
    for i, ((state, metrics), (other, other_metrics)) in enumerate(zip(one, four, strict=True)):
        for name, value in state.items():
            # the later steps begin where rounding has been
            unit = max(np.abs(value).max(), 1e-3 if i == 0 else 1.0)
            if name == "extra/scores":  # rounding moves a pixel into the next of 16,384 bins
                moved = np.abs(np.cumsum(other[name] - value, dtype=np.float64)).sum()
                pixel = value[value > 0].min()
                assert moved < 1.1 * pixel, f"step {i}: {moved / pixel} pixels in other bins"
                continue
            np.testing.assert_allclose(
                other[name], value, rtol=0, atol=1e-5 * unit, err_msg=f"step {i}: {name}"
            )
        for name, value in metrics.items():
            np.testing.assert_allclose(
                other_metrics[name], value, rtol=1e-4, atol=1e-6, err_msg=f"step {i}: {name}"
            )
    if config.contrast_kind == "batch":
        assert 0 < one[0][1]["labelled_dynamic"] < 1 and one[-1][1]["labelled_dynamic"] > 0, (
            "dynamic labels took part"
        )


def test_steps_change_what_they_should_and_nothing_else(trained):
    config, before, (one, _) = trained
    after = one[-1][0]
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    extra = {name for name in before if name.startswith("extra/")}
    scores = {"extra/scores"} if config.dynamic.share else set()
    assert (
        extra
        == {
            "extra/mu_source",
            "extra/mu_target",
            "extra/known_source",
            "extra/known_target",
        }
        | scores
    )
    assert before["extra/mu_source"].shape == (CLASSES, 8) and not any(
        before[name].any() for name in extra
    )
    assert {name for name in before if name.startswith(("params/", "batch_stats/"))} <= changed
    assert changed & extra == (extra if config.contrast_kind == "batch" else set()), (
        "only the slides' method remembers prototypes"
    )


def test_settings_that_cannot_be_meant_are_refused():
    wrong = {
        "contrast_kind": ("pairs", "contrast_kind='pairs': unknown; known: batch, pair"),
        "entropy": ("double", "entropy='double': unknown; known: right, double_softmax"),
        "priority": ("hybrid", "priority='hybrid': unknown; known: dynamic, static"),
        "dynamic.score": (
            "softmax",
            "dynamic.score='softmax': unknown; known: cosine, probability",
        ),
        "temperature": (0.0, "temperature=0.0: expected a positive number"),
        "decay": (1.5, "decay=1.5: expected the share of the old prototype"),
        "dynamic.share": (
            1.0,
            (
                "dynamic.share=1.0: expected a share of the target's pixels, below 1; 0:"
                " dynamic.threshold counts"
            ),
        ),
        "dynamic.threshold": (
            1.0,
            "dynamic.threshold=1.0: expected -1 to below 1, since dynamic.score='cosine'",
        ),
    }
    config = stage_config()
    for key, (value, message) in wrong.items():
        with pytest.raises(UserError) as error:
            bicl.init(
                jax.random.key(0),
                None,
                config=stage_config(**{key: value}),
                model=make_model(config),
            )
        assert message in str(error.value)
    with pytest.raises(
        UserError,
        match="dynamic.share=0.3: there are no dynamic labels: set it to 0, or dynamic.on=True",
    ):
        bicl.check(stage_config(**{"dynamic.share": 0.3, "dynamic.on": False}), make_model(config))
    with pytest.raises(UserError, match="no dynamic labels: set dynamic.on=False"):
        bicl.check(stage_config(contrast_kind="pair"), make_model(config))
    with pytest.raises(
        UserError, match="config.model.heads='twin': set it to 'single', which bicl needs"
    ):
        bicl.check(config, make_model(config, heads="twin"))


def test_the_batch_is_labelled_source_and_the_static_labels_of_a_stage():
    class Feed:
        def shuffled_with_labels(self, domain, batch_size):
            return "labels", domain, batch_size

        def with_pseudo_labels(self, batch_size, labels_from):
            return "pseudo", batch_size, labels_from

    found = bicl.plan(None, data=Feed(), config=stage_config())
    assert found == {"source": ("labels", "source", 4), "target": ("pseudo", 4, "labels0")}
