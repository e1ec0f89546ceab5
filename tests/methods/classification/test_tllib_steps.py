"""Whole train steps of DANN, CDAN, DAN, JAN and MCD against tllib's values and gradients
(can_tllib): the signs as well as the sizes.

The network is a table of the golden file's features and logits, so that what a step changes in it
is the gradient of these.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import part
from compare import assert_close, assert_value
from toy_classifier import Lookup

from dajax.methods import METHODS
from dajax.recipes.compare_cls import BASELINES

TOLERANCE = 2e-5  # tests/golden/README.md, of the largest entry
FLOOR = 1e-6  # the same: biases before a norm have no gradient; and 0 but for the rounding of RATE
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


def both(case, name, prefix=""):
    """An array of both domains, the source's rows first."""
    return np.concatenate([case[f"{prefix}{name}_{domain}"] for domain in "st"])


def tables_of(features, logits):
    """The classifier's parameters: features and logits of source and target, below each other."""
    return {"classifier": {"table": {"kernel": features}, "head": {"kernel": logits}}}


def no_logits(features):
    """Of a file without: the loss does not read them."""
    return np.zeros((len(features), 3))


def batch_of(count, num_classes):
    """The rows of the table by one-hot images; labels that come round."""
    rows = np.eye(2 * count, dtype=np.float32)
    labels = np.arange(count) % num_classes
    return {"source": part(rows[:count], labels), "target": part(rows[count:])}


def moved(before, after):
    """Minus the change over the rate: the gradient that the step has followed, in the shape of the
    parameters.
    """
    return jax.tree.map(
        lambda a, b: (np.asarray(a, np.float64) - np.asarray(b, np.float64)) / RATE,
        before.params,
        after.params,
    )


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
    assert_value(metrics["alignment"], case["loss"], TOLERANCE)
    gradient = moved(state, after)
    features = gradient["classifier"]["table"]["kernel"]
    assert_close(features[:n], case["grad_f_s"], TOLERANCE, floor=FLOOR)
    assert_close(features[n:], case["grad_f_t"], TOLERANCE, floor=FLOOR)
    expected = discriminator_of(case, "grad_disc.")
    unit = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))

    def compare(actual, expected):
        assert_close(actual, expected, TOLERANCE, unit=unit, floor=FLOOR)

    jax.tree.map(compare, gradient["discriminator"], expected)
    logits = np.asarray(state.params["classifier"]["head"]["kernel"], np.float64)
    of_logits = gradient["classifier"]["head"]["kernel"]
    expected = cross_entropy_gradient(logits[:n], labels)
    assert_close(of_logits[:n], expected, TOLERANCE, floor=FLOOR)
    np.testing.assert_array_equal(of_logits[n:], 0)


@pytest.fixture(scope="module")
def dann(golden):
    """(compiled step, f(case) -> state, batch, cases by step)."""
    names = [name for name in golden("can_tllib") if name.startswith("dann_iter")]
    cases = [golden("can_tllib")[name] for name in names]
    cases.sort(key=lambda case: case["iter"])
    assert cases[-1]["iter"] > 0
    (n, width), num_classes = cases[0]["f_s"].shape, 3
    config = stage("dann", discriminator_width=len(cases[0]["disc.0.bias"]))
    model = Lookup(num_classes, width)

    def state_of(case):
        features = both(case, "f")
        tables = tables_of(features, no_logits(features))
        discriminator = {"discriminator": discriminator_of(case)}
        return make(config, model, tables | discriminator, int(case["iter"]))

    return compiled(config, model), state_of, batch_of(n, num_classes), cases


def test_danns_steps_are_tllibs(dann):
    """Along the recipe's schedule: nothing is reversed at step 0, and more and more later on."""
    step, state_of, batch, cases = dann
    for case in cases:
        outcome = step(state_of(case), batch)
        assert_adversarial_step(case, outcome, state_of(case), batch["source"]["label"])
        assert_value(outcome[1]["domain_accuracy"], case["domain_accuracy"], 1e-5)


def test_the_reversed_gradient_makes_features_harder_to_tell_apart(dann):
    """The discriminator is put back after every step, and the logits give the features no gradient:
    it errs more on the same images. A hundredth of a step, so that any gradient's direction holds.
    """
    step, state_of, batch, cases = dann
    state, losses = state_of(cases[-1]), []
    for _ in range(4):
        moved_state, metrics = step(state, batch)
        losses.append(float(metrics["alignment"]))
        part_of_it = jax.tree.map(lambda a, b: a + 0.01 * (b - a), state.params, moved_state.params)
        kept = {"discriminator": state.params["discriminator"]}
        state = state.replace(params=part_of_it | kept)
    assert (np.diff(losses) > 0).all(), losses


@pytest.mark.parametrize("name", ["cdan", pytest.param("cdan_e", marks=pytest.mark.slow)])
def test_cdans_steps_are_tllibs(golden, name):
    case = golden("can_tllib")[name]
    n, num_classes = case["g_s"].shape
    width, conditioned = len(case["disc.0.bias"]), bool(case["entropy_conditioning"])
    config = stage("cdan", discriminator_width=width, entropy_conditioning=conditioned)
    model, batch = Lookup(num_classes, case["f_s"].shape[1]), batch_of(n, num_classes)
    tables = tables_of(both(case, "f"), both(case, "g"))
    discriminator = {"discriminator": discriminator_of(case)}
    state = make(config, model, tables | discriminator, int(case["iter"]))
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
def test_the_steps_of_dan_and_jan_are_tllibs(golden, monkeypatch, method, statistic):
    """With the file's kernels; those of a run are tllib's: below, and tests/losses/test_mmd.py."""
    case = golden("can_tllib")[f"{method}_{statistic}"]
    n, width = case["f_s"].shape
    features, is_joint = both(case, "f"), method == "jan"
    monkeypatch.setattr(METHODS[method], "ALPHAS", tuple(case["alphas"].tolist()))
    if is_joint:
        monkeypatch.setattr(METHODS[method], "_PROBABILITY_SIGMA", float(case["sigma_probs"]))
    logits = both(case, "logits") if is_joint else no_logits(features)
    config = stage(method, statistic=statistic)
    model, batch = Lookup(logits.shape[1], width), batch_of(n, logits.shape[1])
    state = make(config, model, tables_of(features, logits))
    after, metrics = compiled(config, model)(state, batch)
    # tllib's constant
    assert_value(metrics["alignment"] + 2.0 / (n - 1), case["loss"], TOLERANCE)
    gradient = moved(state, after)["classifier"]
    expected = both(case, "f", "grad_")
    assert_close(gradient["table"]["kernel"], expected, TOLERANCE, floor=FLOOR)
    expected = both(case, "logits", "grad_") if is_joint else np.zeros_like(logits)
    expected[:n] += cross_entropy_gradient(logits[:n].astype(float), batch["source"]["label"])
    assert_close(gradient["head"]["kernel"], expected, TOLERANCE, floor=FLOOR)


def test_a_run_of_jan_has_tllibs_bandwidth_of_the_probabilities():
    """examples jan.py: GaussianKernel(sigma=0.92, track_running_stats=False)."""
    assert METHODS["jan"]._PROBABILITY_SIGMA == 0.92


@pytest.mark.parametrize("method, name", [("dan", "mmd_2layer"), ("jan", "jmmd_2layer")])
def test_the_steps_with_the_kernels_of_cans_repository_are_its_own(golden, method, name):
    """network=can: features, and class probabilities as the second layer; weight 0.3 (its MMD yaml
    files).
    """
    case = golden("can_mmd")[name]
    n, num_classes = case["src_l1"].shape
    config = stage(method, "digits,network=can")
    model, batch = Lookup(num_classes, case["src_l0"].shape[1]), batch_of(n, num_classes)
    features, probabilities = (
        np.concatenate([case[f"src_l{i}"], case[f"tgt_l{i}"]]) for i in (0, 1)
    )
    state = make(config, model, tables_of(features, np.log(probabilities)))
    after, metrics = compiled(config, model)(state, batch)
    assert_value(metrics["alignment"], case["loss"], TOLERANCE)
    gradient = moved(state, after)["classifier"]["table"]["kernel"]
    expected = config.weight * np.concatenate([case["grad_src_l0"], case["grad_tgt_l0"]])
    assert_close(gradient, expected, TOLERANCE, floor=FLOOR)


def mcd_setting(case, **changes):
    """MCD on the discrepancy alone, no source row and no balance, with identical features: the
    heads are tables of logits.

    (config, model, state, batch).
    """
    n, num_classes = case["logits_1"].shape
    config = stage("mcd", entropy_weight=0.0, weight=1.0, **changes)
    model = Lookup(num_classes, n, over_features=True)
    bias = np.zeros(num_classes)
    tables = {
        "classifier": {
            "table": {"kernel": np.eye(n)},
            "head": {"kernel": case["logits_1"], "bias": bias},
        },
        "second_head": {"linear": {"kernel": case["logits_2"], "bias": bias}},
    }
    rows = np.eye(n, dtype=np.float32)
    no_source = part(rows, np.zeros(n), np.zeros(n))
    batch = {"source": no_source, "target": part(rows)}
    return config, model, make(config, model, tables), batch


def assert_nothing_else(metrics, case):
    assert metrics["ce"] == metrics["ce_second"] == 0, "no source row"
    assert_value(metrics["balance"], case["entropy_sum"], TOLERANCE)
    assert_value(metrics["discrepancy_maximised"], case["discrepancy"], TOLERANCE)


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
    for found, expected in (
        (gradient["classifier"]["head"]["kernel"], case["grad_discrepancy_logits_1"]),
        (gradient["second_head"]["linear"]["kernel"], case["grad_discrepancy_logits_2"]),
    ):
        assert_close(found, -expected, TOLERANCE, floor=FLOOR)
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
    of_features = gradient["classifier"]["table"]["kernel"] * RATE / config.optimizer.lr
    expected = sum(of_logits @ logits.T for of_logits, logits in heads)
    assert_close(of_features, expected, TOLERANCE, floor=FLOOR)
    for name in ("second_head", "classifier"):
        jax.tree.map(
            lambda leaf: np.testing.assert_array_equal(leaf, 0),
            {k: v for k, v in gradient[name].items() if k != "table"},
        )
    assert step(after, batch)[1]["discrepancy_maximised"] < case["discrepancy"]
