"""Adversarial losses, CLAN's maps and weight loss against the authors' code (clan_adv,
clan_weightmap, clan_weightloss).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_value
from golden_arrays import channels_first, channels_last

from dajax.losses.adversarial import (
    discrepancy_map,
    discriminator_map,
    self_adaptive_weights,
    weight_cosine,
)
from dajax.recipes import clan as clan_config

# tests/golden/README.md: float32 losses relative, gradients of the array's max
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("kind, prefix", [("vanilla", "bce"), ("least_squares", "ls")])
def test_discriminator_losses_are_the_authors(golden, label, kind, prefix):
    case = golden("clan_adv")[""]
    value, grad = jax.jit(
        jax.value_and_grad(lambda x: discriminator_map(x, float(label), kind).mean())
    )(case["d_logits"][:, 0])
    assert_value(value, case[f"{prefix}{label}_loss"], LOSS_TOLERANCE)
    assert_close(grad, case[f"{prefix}{label}_grad"][:, 0], GRADIENT_TOLERANCE)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("name, source", [("gta", "gta5"), ("syn", "synthia")])
def test_the_self_adaptive_loss_is_the_authors(golden, label, name, source):
    """With the recipe's constants for each source, which the file does not hold."""
    case = golden("clan_adv")[""]
    recipe = clan_config.get_config(f"{source}_to_cityscapes,weights=none").clan.adversarial
    constants = dict(epsilon=recipe.epsilon, local_weight=recipe.local_weight)

    def loss(logits, disagreement):
        weights = self_adaptive_weights(disagreement, **constants)
        return (weights * discriminator_map(logits, float(label), "vanilla")).mean()

    value, (logit_grad, map_grad) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(
        case["d_logits"][:, 0], case["weight_map"][:, 0]
    )
    assert_value(value, case[f"w{label}_{name}_loss"], LOSS_TOLERANCE)
    assert_close(logit_grad, case[f"w{label}_{name}_grad_logits"][:, 0], GRADIENT_TOLERANCE)
    assert_close(map_grad, case[f"w{label}_{name}_grad_weight"][:, 0], GRADIENT_TOLERANCE)


def test_the_discrepancy_map_and_its_gradient_are_the_authors(golden):
    case = golden("clan_weightmap")[""]
    a, b = (channels_last(case[name]) for name in ("logits1", "logits2"))
    value, pullback = jax.vjp(jax.jit(discrepancy_map), a, b)
    assert_close(value, case["weight_map"][:, 0], 1e-6, unit=1.0)  # of a map in [0, 1]
    grads = pullback(jnp.asarray(case["cotangent"][:, 0], jnp.float32))
    for grad, name in zip(grads, ("grad1", "grad2"), strict=True):
        assert_close(channels_first(grad), case[name], GRADIENT_TOLERANCE)
    assert abs(value[0, 0, 0]) < 1e-6 and abs(value[0, 0, 1] - 1) < 1e-6, (
        "identical and opposite predictions"
    )


def test_the_weight_loss_is_the_authors_and_the_papers_leaves_biases_out(golden):
    case = golden("clan_weightloss")[""]

    layers = ("layer5", "layer6")
    branches = range(len(case["param_order"]) // 2)  # a weight and a bias of each
    assert len(branches) > 0

    def head(layer):
        return {
            f"conv2d_list_{i}": {
                "kernel": jnp.asarray(
                    case[f"{layer}.conv2d_list.{i}.weight"].transpose(2, 3, 1, 0)
                ),
                "bias": jnp.asarray(case[f"{layer}.conv2d_list.{i}.bias"]),
            }
            for i in branches
        }

    heads = tuple(map(head, layers))
    # loss_damp1: (cos + 1) * lambda_weight 0.01 * damping 1 * 2
    value, grads = jax.jit(
        jax.value_and_grad(lambda heads: 0.02 * weight_cosine(*heads, with_biases=True))
    )(heads)
    assert_value(value + 0.02, case["loss_damp1"], LOSS_TOLERANCE)
    for layer, grad in zip(layers, grads, strict=True):
        for i in branches:
            found, name = grad[f"conv2d_list_{i}"], f"grad.{layer}.conv2d_list.{i}"
            kernel = np.asarray(found["kernel"]).transpose(3, 2, 0, 1)
            assert_close(kernel, case[f"{name}.weight"], GRADIENT_TOLERANCE)
            assert_close(found["bias"], case[f"{name}.bias"], GRADIENT_TOLERANCE)
    cosine = weight_cosine(*heads, with_biases=False)
    assert_close(cosine, case["cos_kernels_only"], 1e-6, unit=1.0)


def test_a_saturated_discriminator_has_a_finite_loss_and_gradient():
    value, grad = jax.value_and_grad(lambda x: discriminator_map(x, 1.0, "vanilla").mean())(
        jnp.asarray([[[1e4, -1e4, 0.0]]])
    )
    assert np.isfinite(value) and np.isfinite(grad).all()


def test_an_unknown_gan_is_named():
    with pytest.raises(
        ValueError, match="unknown gan 'wasserstein'; known: vanilla, least_squares"
    ):
        discriminator_map(jnp.zeros((1, 2, 2)), 0.0, "wasserstein")
