"""Adversarial losses, CLAN's maps and weight loss against the authors' code (clan_adv,
clan_weightmap, clan_weightloss).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dajax.losses.adversarial import (
    discrepancy_map,
    discriminator_map,
    self_adaptive_weights,
    weight_cosine,
)

# tests/golden/README.md: float32 losses relative, gradients of the array's max
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4


def assert_close(actual, expected, tolerance=GRADIENT_TOLERANCE):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("kind, prefix", [("vanilla", "bce"), ("least_squares", "ls")])
def test_discriminator_losses_are_the_authors(golden, label, kind, prefix):
    case = golden("clan_adv")[""]
    value, grad = jax.jit(
        jax.value_and_grad(lambda x: discriminator_map(x, float(label), kind).mean())
    )(case["d_logits"][:, 0])
    np.testing.assert_allclose(value, case[f"{prefix}{label}_loss"], rtol=LOSS_TOLERANCE)
    assert_close(grad, case[f"{prefix}{label}_grad"][:, 0])


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("name, local_weight", [("gta", 40.0), ("syn", 10.0)])
def test_the_self_adaptive_loss_is_the_authors(golden, label, name, local_weight):
    case = golden("clan_adv")[""]

    def loss(logits, disagreement):
        weights = self_adaptive_weights(disagreement, epsilon=0.4, local_weight=local_weight)
        return (weights * discriminator_map(logits, float(label), "vanilla")).mean()

    value, (logit_grad, map_grad) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(
        case["d_logits"][:, 0], case["weight_map"][:, 0]
    )
    np.testing.assert_allclose(value, case[f"w{label}_{name}_loss"], rtol=LOSS_TOLERANCE)
    assert_close(logit_grad, case[f"w{label}_{name}_grad_logits"][:, 0])
    assert_close(map_grad, case[f"w{label}_{name}_grad_weight"][:, 0])


def test_the_discrepancy_map_and_its_gradient_are_the_authors(golden):
    case = golden("clan_weightmap")[""]
    a, b = (np.moveaxis(case[name], 1, -1) for name in ("logits1", "logits2"))
    value, pullback = jax.vjp(jax.jit(discrepancy_map), a, b)
    # of a map in [0, 1]
    np.testing.assert_allclose(value, case["weight_map"][:, 0], rtol=0, atol=1e-6)
    for grad, name in zip(
        pullback(jnp.asarray(case["cotangent"][:, 0], jnp.float32)), ("grad1", "grad2")
    ):
        assert_close(grad, np.moveaxis(case[name], 1, -1))
    assert abs(value[0, 0, 0]) < 1e-6 and abs(value[0, 0, 1] - 1) < 1e-6, (
        "identical and opposite predictions"
    )


def test_the_weight_loss_is_the_authors_and_the_papers_leaves_biases_out(golden):
    case = golden("clan_weightloss")[""]

    def head(layer):
        return {
            f"conv2d_list_{i}": {
                "kernel": jnp.asarray(
                    case[f"{layer}.conv2d_list.{i}.weight"].transpose(2, 3, 1, 0)
                ),
                "bias": jnp.asarray(case[f"{layer}.conv2d_list.{i}.bias"]),
            }
            for i in range(4)
        }

    heads = head("layer5"), head("layer6")
    # loss_damp1: (cos + 1) * lambda_weight 0.01 * damping 1 * 2
    value, grads = jax.jit(
        jax.value_and_grad(lambda heads: 0.02 * weight_cosine(*heads, with_biases=True))
    )(heads)
    np.testing.assert_allclose(value + 0.02, case["loss_damp1"], rtol=LOSS_TOLERANCE)
    for layer, grad in zip(("layer5", "layer6"), grads):
        for i in range(4):
            assert_close(
                grad[f"conv2d_list_{i}"]["kernel"],
                case[f"grad.{layer}.conv2d_list.{i}.weight"].transpose(2, 3, 1, 0),
            )
            assert_close(
                grad[f"conv2d_list_{i}"]["bias"], case[f"grad.{layer}.conv2d_list.{i}.bias"]
            )
    # a cosine
    np.testing.assert_allclose(
        weight_cosine(*heads, with_biases=False), case["cos_kernels_only"], rtol=0, atol=1e-6
    )


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
