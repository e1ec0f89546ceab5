"""Gradient reversal, DANN's and CDAN's discriminator losses, against tllib (can_tllib)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_value
from golden_arrays import between, names_in

from dajax.losses.domain_adversarial import (
    conditioned_features,
    domain_losses,
    entropy_weights,
    randomized_features,
    reversal_coefficient,
    reverse_gradient,
)
from dajax.models.apply import discriminate_domains, init_domain_discriminator
from dajax.recipes import dann as dann_config

TLLIB_REVERSAL = dann_config.get_config().dann.reversal.to_dict()
TOLERANCE = 2e-5  # tests/golden/README.md
FLOOR = 1e-6  # the same: biases before a norm have no gradient, nor have features at iteration 0


# Dense and batch norm of each hidden layer by their numbers in torch's nn.Sequential.
LAYERS = (("0", "1"), ("3", "4"))


def discriminator_trees(case):
    """torch's nn.Sequential -> (params, batch_stats)."""

    def entry(layer, leaf):
        return jnp.asarray(case[f"disc.{layer}.{leaf}"], jnp.float32)

    params, stats = {}, {}
    for layer, (dense, norm) in enumerate(LAYERS, start=1):
        params[f"dense{layer}"] = {"kernel": entry(dense, "weight").T, "bias": entry(dense, "bias")}
        params[f"norm{layer}"] = {
            "scale": entry(norm, "weight")[None],
            "bias": entry(norm, "bias")[None],
        }
        stats[f"norm{layer}"] = {
            "mean": entry(norm, "running_mean")[None],
            "var": entry(norm, "running_var")[None],
        }
    params["output"] = {"kernel": entry("6.0", "weight").T, "bias": entry("6.0", "bias")}
    return params, stats


def loss_of(case, params, stats, source, target, weights=None):
    """(loss, logits) of both domains behind the reversal."""
    step, n = int(case["iter"]), len(source)
    rows = reverse_gradient(
        jnp.concatenate([source, target]), reversal_coefficient(step, **TLLIB_REVERSAL)
    )
    width = case["disc.0.bias"].shape[0]
    logits, _ = discriminate_domains(
        params, stats, rows, jnp.ones(2 * n, bool), width=width, axis_name=None
    )
    losses = domain_losses(logits, jnp.arange(2 * n) < n)
    weights = jnp.ones(2 * n) if weights is None else weights
    return (weights * losses).sum() / weights.sum(), logits


@pytest.mark.parametrize("iteration", between(names_in("can_tllib"), "dann_iter", "/loss"))
def test_dann_is_tllibs(golden, iteration):
    case = golden("can_tllib")[f"dann_iter{iteration}"]
    params, stats = discriminator_trees(case)

    def loss(params, source, target):
        return loss_of(case, params, stats, source, target)

    (value, logits), (of_params, *of_features) = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    )(params, case["f_s"], case["f_t"])
    assert_value(value, case["loss"], TOLERANCE)
    for grad, key in zip(of_features, ("grad_f_s", "grad_f_t"), strict=True):
        assert_close(grad, case[key], TOLERANCE, floor=FLOOR)
    n = len(case["f_s"])
    accuracy = 50 * ((logits[:n] > 0).mean() + (logits[n:] <= 0).mean())
    assert_value(accuracy, case["domain_accuracy"], 1e-6)
    output = of_params["output"]
    found = {"6.0.weight": output["kernel"].T, "6.0.bias": output["bias"]}
    for layer, (dense, norm) in enumerate(LAYERS, start=1):
        found |= {
            f"{dense}.weight": of_params[f"dense{layer}"]["kernel"].T,
            f"{dense}.bias": of_params[f"dense{layer}"]["bias"],
            f"{norm}.weight": of_params[f"norm{layer}"]["scale"][0],
            f"{norm}.bias": of_params[f"norm{layer}"]["bias"][0],
        }
    unit = max(np.abs(case[f"grad_disc.{name}"]).max() for name in found)
    for name, grad in found.items():
        assert_close(grad, case[f"grad_disc.{name}"], TOLERANCE, unit=unit, floor=FLOOR)
    assert np.asarray(of_features[0]).any() == (case["grl_coeff"] > 0), (
        "nothing is reversed while the coefficient is 0"
    )


@pytest.mark.parametrize("name", ["cdan", "cdan_e"])
def test_cdan_is_tllibs(golden, name):
    case = golden("can_tllib")[name]
    params, stats = discriminator_trees(case)
    mask = jnp.ones(2 * len(case["g_s"]), bool)

    def loss(source, target, source_logits, target_logits):
        weights = None
        if case["entropy_conditioning"]:
            weights = entropy_weights(jnp.concatenate([source_logits, target_logits]), mask)
        maps = (
            conditioned_features(source, source_logits),
            conditioned_features(target, target_logits),
        )
        return loss_of(case, params, stats, *maps, weights)[0]

    args = [case[key] for key in ("f_s", "f_t", "g_s", "g_t")]
    value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))(*args)
    assert_value(value, case["loss"], TOLERANCE)
    assert_close(grads[0], case["grad_f_s"], TOLERANCE, floor=FLOOR)
    assert_close(grads[1], case["grad_f_t"], TOLERANCE, floor=FLOOR)
    assert not np.asarray(grads[2]).any() and not np.asarray(grads[3]).any(), (
        "predictions get no gradient"
    )


def test_the_reversal_coefficient_is_tllibs_and_begins_at_0(golden):
    case = golden("can_tllib")["grl"]
    for step, expected in zip(case["iters"], case["coeff"], strict=True):
        np.testing.assert_allclose(
            reversal_coefficient(int(step), **TLLIB_REVERSAL), expected, atol=1e-6
        )
    assert reversal_coefficient(0, **TLLIB_REVERSAL) == 0


def test_hand_computed_losses():
    """ln 2 at logit 0; softplus(-2) for a source row at 2, softplus(2) for a target row there."""
    losses = domain_losses(jnp.array([0.0, 2.0, 2.0]), jnp.array([True, True, False]))
    np.testing.assert_allclose(
        losses, [np.log(2), np.log1p(np.exp(-2)), np.log1p(np.exp(2))], rtol=1e-6
    )
    weights = entropy_weights(
        jnp.array([[50.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), jnp.array([True, True, False])
    )
    np.testing.assert_allclose(weights, [2.0, 1.5, 0.0], atol=1e-4)  # 1 + exp(-ln 2)


def test_the_randomised_map_is_the_product_of_two_projections():
    """Features (1, 2) and probabilities (1/4, 3/4), onto three numbers: (1, 3, 2) * (1/4, 3/4, 1) /
    sqrt(3).
    """
    features, logits = jnp.array([[1.0, 2.0]]), jnp.log(jnp.array([[0.25, 0.75]]))
    of_features = jnp.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    of_classes = jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    mapped = randomized_features(features, logits, of_features, of_classes)
    np.testing.assert_allclose(mapped, np.array([[0.25, 2.25, 2.0]]) / np.sqrt(3), rtol=1e-6)
    of_logits = jax.grad(lambda x: randomized_features(features, x, of_features, of_classes).sum())(
        logits
    )
    assert not np.asarray(of_logits).any(), "predictions get no gradient"


def test_nothing_valid_and_identical_features_are_finite():
    rows = jnp.ones((4, 3))
    case = {"iter": 10, "disc.0.bias": np.zeros(5)}
    params, stats = init_domain_discriminator(jax.random.key(0), width=5, num_inputs=3)
    value, grads = jax.value_and_grad(
        lambda p, s: loss_of(case, p, stats, s, rows)[0], argnums=(0, 1)
    )(params, rows)
    assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert not np.asarray(entropy_weights(rows, jnp.zeros(4, bool))).any()
