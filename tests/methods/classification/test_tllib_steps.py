"""Whole train steps of DANN, CDAN, DAN, JAN and MCD against tllib's values and gradients
(can_tllib): the signs as well as the sizes.

The network is a table of the golden file's features and logits, so that what a step changes in it
is the gradient of these.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_classifier import Lookup

from dajax.methods import METHODS
from dajax.recipes.compare_cls import BASELINES

TOLERANCE = 2e-5  # tests/golden/README.md, of the largest entry
RATE = 64.0  # so large that the difference of two float32 parameters holds the gradient to 1e-6


def stage(method, argument="digits", **changes):
    """The recipe's stage, with plain SGD at one rate: its momentum and decay are test_optim's."""
    config = BASELINES[method].get_config(argument)[method]
    for name in ("optimizer", "classifier_optimizer"):
        if name in config:
            config[name].update(
                schedule="constant",
                lr=RATE,
                momentum=0.0,
                weight_decay=0.0,
                nesterov=False,
                lr_multipliers=(),
            )
    config.update_from_flattened_dict(changes)
    return config


def compiled(config, model):
    method = METHODS[config.method]
    return jax.jit(
        lambda state, batch: method.train_step(
            state, batch, jax.random.key(0), config=config, model=model
        )
    )


def make(config, model, tables, step=0):
    """A state at `step` whose parameters are `tables`, by network, where they are given."""
    images = jnp.zeros((2, tables["classifier"]["table"]["kernel"].shape[0]))
    state = METHODS[config.method].init(jax.random.key(0), images, config=config, model=model)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), state.params | tables)
    return state.replace(params=params, step=jnp.int32(step))


def tables_of(case, logits=("logits_s", "logits_t")):
    """The classifier's parameters: features of source and target below each other, and logits,
    zeros where the file has none.
    """
    features = np.concatenate([case["f_s"], case["f_t"]])
    both = (
        np.concatenate([case[name] for name in logits])
        if logits[0] in case
        else np.zeros((len(features), 3))
    )
    return {"classifier": {"table": {"kernel": features}, "head": {"kernel": both}}}


def batch_of(count, num_classes):
    rows, labels = (
        np.eye(2 * count, dtype=np.float32),
        (np.arange(count) % num_classes).astype(np.int32),
    )
    mask = np.ones(count, bool)
    return {
        "source": {"image": rows[:count], "label": labels, "mask": mask},
        "target": {"image": rows[count:], "mask": mask},
    }


def moved(before, after):
    """Minus the change over the rate: the gradient that the step has followed, in the shape of the
    parameters.
    """
    return jax.tree.map(
        lambda a, b: (np.asarray(a, np.float64) - np.asarray(b, np.float64)) / RATE,
        before.params,
        after.params,
    )


def assert_close(actual, expected, scale=None):
    scale = np.abs(expected).max() if scale is None else scale
    np.testing.assert_allclose(actual, expected, rtol=0, atol=max(TOLERANCE * scale, 1e-6))


def cross_entropy_gradient(logits, labels):
    """Of the mean over the rows, by hand."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    return (p / p.sum(1, keepdims=True) - np.eye(logits.shape[1])[labels]) / len(labels)


def discriminator_of(case, prefix="disc."):
    """torch's nn.Sequential as parameters; with prefix "grad_disc." its gradients."""
    params = {}
    for layer, (dense, norm) in enumerate((("0", "1"), ("3", "4")), start=1):
        params[f"dense{layer}"] = {
            "kernel": case[f"{prefix}{dense}.weight"].T,
            "bias": case[f"{prefix}{dense}.bias"],
        }
        params[f"norm{layer}"] = {
            "scale": case[f"{prefix}{norm}.weight"][None],
            "bias": case[f"{prefix}{norm}.bias"][None],
        }
    return params | {
        "output": {"kernel": case[f"{prefix}6.0.weight"].T, "bias": case[f"{prefix}6.0.bias"]}
    }


def assert_adversarial_step(case, step, state, labels):
    """The loss, the reversed gradient of the features, the discriminator's own, and that
    predictions learn from the labels alone.
    """
    after, metrics = step
    n = len(case["f_s"])
    np.testing.assert_allclose(metrics["alignment"], case["loss"], rtol=TOLERANCE)
    gradient = moved(state, after)
    features = gradient["classifier"]["table"]["kernel"]
    assert_close(features[:n], case["grad_f_s"])
    assert_close(features[n:], case["grad_f_t"])
    expected = discriminator_of(case, "grad_disc.")
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    jax.tree.map(lambda a, b: assert_close(a, b, scale), gradient["discriminator"], expected)
    logits = np.asarray(state.params["classifier"]["head"]["kernel"], np.float64)
    of_logits = gradient["classifier"]["head"]["kernel"]
    assert_close(of_logits[:n], cross_entropy_gradient(logits[:n], labels))
    np.testing.assert_array_equal(of_logits[n:], 0)


@pytest.fixture(scope="module")
def dann(golden):
    """(compiled step, f(case) -> state, batch, cases by step)."""
    cases = {step: golden("can_tllib")[f"dann_iter{step}"] for step in (0, 300, 5000)}
    n, width = cases[0]["f_s"].shape
    config, model = (
        stage("dann", discriminator_width=len(cases[0]["disc.0.bias"])),
        Lookup(3, width),
    )

    def state_of(case):
        return make(
            config,
            model,
            tables_of(case) | {"discriminator": discriminator_of(case)},
            int(case["iter"]),
        )

    return compiled(config, model), state_of, batch_of(n, 3), cases


def test_danns_steps_are_tllibs(dann):
    """At steps 0, 300 and 5,000 of the schedule nothing is reversed, a seventh, nearly all."""
    step, state_of, batch, cases = dann
    for case in cases.values():
        outcome = step(state_of(case), batch)
        assert_adversarial_step(case, outcome, state_of(case), batch["source"]["label"])
        np.testing.assert_allclose(
            outcome[1]["domain_accuracy"], case["domain_accuracy"], rtol=1e-5
        )


def test_the_reversed_gradient_makes_features_harder_to_tell_apart(dann):
    """The discriminator is put back after every step, and the logits give the features no gradient:
    it errs more on the same images.
    """
    step, state_of, batch, cases = dann
    state, losses = state_of(cases[5000]), []
    for _ in range(4):
        moved_state, metrics = step(state, batch)
        losses.append(float(metrics["alignment"]))
        state = state.replace(
            params=moved_state.params | {"discriminator": state.params["discriminator"]}
        )
    assert (np.diff(losses) > 1e-3).all(), losses


@pytest.mark.parametrize("name", ["cdan", pytest.param("cdan_e", marks=pytest.mark.slow)])
def test_cdans_steps_are_tllibs(golden, name):
    case = golden("can_tllib")[name]
    n, num_classes = case["g_s"].shape
    width, conditioned = len(case["disc.0.bias"]), bool(case["entropy_conditioning"])
    config = stage("cdan", discriminator_width=width, entropy_conditioning=conditioned)
    model, batch = Lookup(num_classes, case["f_s"].shape[1]), batch_of(n, num_classes)
    state = make(
        config,
        model,
        tables_of(case, ("g_s", "g_t")) | {"discriminator": discriminator_of(case)},
        int(case["iter"]),
    )
    assert_adversarial_step(
        case, compiled(config, model)(state, batch), state, batch["source"]["label"]
    )


@pytest.mark.parametrize(
    "method, statistic",
    [
        ("dan", "linear"),
        ("jan", "quadratic"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (("dan", "quadratic"), ("jan", "linear"))
        ),
    ],
)
def test_the_steps_of_dan_and_jan_are_tllibs(golden, method, statistic):
    case = golden("can_tllib")[f"{method}_{statistic}"]
    n, width = case["f_s"].shape
    num_classes = case["logits_s"].shape[1] if "logits_s" in case else 3
    config, model, batch = (
        stage(method, statistic=statistic),
        Lookup(num_classes, width),
        batch_of(n, num_classes),
    )
    state = make(config, model, tables_of(case))
    after, metrics = compiled(config, model)(state, batch)
    # tllib's constant
    np.testing.assert_allclose(metrics["alignment"] + 2.0 / (n - 1), case["loss"], rtol=TOLERANCE)
    gradient = moved(state, after)["classifier"]
    assert_close(gradient["table"]["kernel"], np.concatenate([case["grad_f_s"], case["grad_f_t"]]))
    logits = np.asarray(state.params["classifier"]["head"]["kernel"], np.float64)
    expected = np.zeros_like(logits)
    expected[:n] = cross_entropy_gradient(logits[:n], batch["source"]["label"])
    if "grad_logits_s" in case:
        expected += np.concatenate([case["grad_logits_s"], case["grad_logits_t"]])
    assert_close(gradient["head"]["kernel"], expected)


@pytest.mark.parametrize("method, name", [("dan", "mmd_2layer"), ("jan", "jmmd_2layer")])
def test_the_steps_with_the_kernels_of_cans_repository_are_its_own(golden, method, name):
    """network=can: features, and class probabilities as the second layer; weight 0.3 (its MMD yaml
    files).
    """
    case = golden("can_mmd")[name]
    n, num_classes = case["src_l1"].shape
    config = stage(method, "digits,network=can")
    model, batch = Lookup(num_classes, case["src_l0"].shape[1]), batch_of(n, num_classes)
    layers = [np.concatenate([case[f"src_l{i}"], case[f"tgt_l{i}"]]) for i in range(2)]
    state = make(
        config,
        model,
        {"classifier": {"table": {"kernel": layers[0]}, "head": {"kernel": np.log(layers[1])}}},
    )
    after, metrics = compiled(config, model)(state, batch)
    np.testing.assert_allclose(metrics["alignment"], case["loss"], rtol=TOLERANCE)
    gradient = moved(state, after)["classifier"]["table"]["kernel"]
    assert_close(
        gradient, config.weight * np.concatenate([case["grad_src_l0"], case["grad_tgt_l0"]])
    )


def mcd_setting(case, **changes):
    """MCD on the discrepancy alone, no source row and no balance, with identical features: the
    heads are tables of logits.

    (config, model, state, batch).
    """
    n, num_classes = case["logits_1"].shape
    config, model = (
        stage("mcd", entropy_weight=0.0, weight=1.0, **changes),
        Lookup(num_classes, n, over_features=True),
    )
    bias = np.zeros(num_classes)
    tables = {
        "classifier": {
            "table": {"kernel": np.eye(n)},
            "head": {"kernel": case["logits_1"], "bias": bias},
        },
        "second_head": {"linear": {"kernel": case["logits_2"], "bias": bias}},
    }
    rows, mask = np.eye(n, dtype=np.float32), np.ones(n, bool)
    source = {"image": rows, "label": np.zeros(n, np.int32), "mask": ~mask}
    return (
        config,
        model,
        make(config, model, tables),
        {"source": source, "target": {"image": rows, "mask": mask}},
    )


def assert_nothing_else(metrics, case):
    assert metrics["ce"] == metrics["ce_second"] == 0, "no source row"
    np.testing.assert_allclose(metrics["balance"], case["entropy_sum"], rtol=TOLERANCE)
    np.testing.assert_allclose(
        metrics["discrepancy_maximised"], case["discrepancy"], rtol=TOLERANCE
    )


def test_mcds_phase_b_follows_the_discrepancy_uphill_with_the_classifiers(golden):
    """The features stand still, so that phase B alone acts; tllib's gradient, and then the
    discrepancy of the same images is larger.
    """
    case = golden("can_tllib")["mcd"]
    config, model, state, batch = mcd_setting(case, **{"optimizer.lr": 0.0, "num_k": 1})
    step = compiled(config, model)
    after, metrics = step(state, batch)
    assert_nothing_else(metrics, case)
    gradient = moved(state, after)
    assert_close(gradient["classifier"]["head"]["kernel"], -case["grad_discrepancy_logits_1"])
    assert_close(gradient["second_head"]["linear"]["kernel"], -case["grad_discrepancy_logits_2"])
    np.testing.assert_array_equal(gradient["classifier"]["table"]["kernel"], 0)
    assert metrics["discrepancy_minimised"] > metrics["discrepancy_maximised"], (
        "phase C looks at it after B"
    )
    assert step(after, batch)[1]["discrepancy_maximised"] > case["discrepancy"]


def test_mcds_phase_c_follows_the_discrepancy_downhill_with_the_features(golden):
    """The classifiers stand still, so that phase C alone acts, once; its gradient is tllib's
    through both heads, by hand.
    """
    case = golden("can_tllib")["mcd"]
    config, model, state, batch = mcd_setting(
        case, **{"classifier_optimizer.lr": 0.0, "num_k": 1, "optimizer.lr": 0.5}
    )
    step = compiled(config, model)
    after, metrics = step(state, batch)
    assert_nothing_else(metrics, case)
    heads = (
        (case[f"grad_discrepancy_logits_{i}"], case[f"logits_{i}"].astype(np.float64))
        for i in (1, 2)
    )
    gradient = moved(state, after)
    assert_close(
        gradient["classifier"]["table"]["kernel"] * RATE / 0.5,
        sum(of_logits @ logits.T for of_logits, logits in heads),
    )
    for name in ("second_head", "classifier"):
        jax.tree.map(
            lambda leaf: np.testing.assert_array_equal(leaf, 0),
            {k: v for k, v in gradient[name].items() if k != "table"},
        )
    assert step(after, batch)[1]["discrepancy_maximised"] < case["discrepancy"]
