"""CLAN's adversary alone, step by step, against the authors' code on fixed predictions
(clan_dstep): G's gradient and D's three updates.

The segmenter is a table of the golden file's low-resolution logits, so that what a step changes in
it is the gradient of these.
"""

import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recipe_weights import discriminator_params

from dajax.methods import METHODS
from dajax.models.aspp import SegOutput
from dajax.recipes import clan as clan_config

# tests/golden/README.md: losses relative, gradients and parameters of the array's max
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4
RATE = 4096.0  # so large that the difference of two float32 parameters holds the gradient
SOURCE, TARGET = 0.0, 1.0  # the images
# The step of this number is the last with plain weights; without a warm-up there is none such.
WARMUP_STEPS = 1


class Logits(nn.Module):
    """Twin heads that know their logits by heart, [2, h, w, K] each: an image of zeros asks for the
    first, one of ones for the second.
    """

    shape: tuple[int, ...]
    heads: ClassVar[str] = "twin"
    network: ClassVar[str] = "segmenter"

    @property
    def num_classes(self):
        return self.shape[-1]

    def frozen_parameters(self):
        return ()

    @nn.compact
    def __call__(self, images, mode):
        chosen = jnp.stack([1.0 - images[:, 0, 0, 0], images[:, 0, 0, 0]], -1)  # [N, 2]
        tables = [Table(self.shape, name=name)() for name in ("layer5", "layer6")]
        first, second = (jnp.tensordot(chosen, table, 1, precision="highest") for table in tables)
        return SegOutput(second, second, first)


class Table(nn.Module):
    """One array."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self):
        """float32 of the shape."""
        return self.param("kernel", nn.initializers.zeros_init(), self.shape)


def last(x):
    return np.moveaxis(np.asarray(x), 1, -1)


@functools.cache
def compiled(full_size, shape, differentiate_map):
    """(config, model, step) of the recipe's stage, the adversary alone: no labelled pixel, no
    weight loss, plain SGD for the tables.
    """
    config = clan_config.get_config("gta5_to_cityscapes,weights=none").clan
    config.update(
        weight_loss=0.0,
        warmup_steps=WARMUP_STEPS,
        differentiate_map=differentiate_map,
        target_hw=full_size,
    )
    config.optimizer.update(
        schedule="constant", lr=RATE, momentum=0.0, weight_decay=0.0, lr_multipliers=(), repeats=()
    )
    config.discriminator_optimizer.update(schedule="constant")
    model, method = Logits(shape), METHODS["clan"]
    return (
        config,
        model,
        jax.jit(
            lambda state, batch: method.train_step(
                state, batch, jax.random.key(0), config=config, model=model
            )
        ),
    )


def setting(case, differentiate_map=True):
    """(config, step, state at the file's predictions and weights, batch)."""
    full_size = tuple(int(n) for n in case["full_size"])
    # layer5, layer6: [2, h, w, K]
    tables = [np.concatenate([last(case[f"src_low{i}"]), last(case[f"low{i}"])]) for i in (1, 2)]
    config, model, step = compiled(full_size, tables[0].shape, differentiate_map)
    assert (config.adversarial.epsilon, config.adversarial.local_weight) == (
        case["eps"],
        case["lam_local"],
    )
    assert config.adversarial.weight == case["lam_adv"]
    state = METHODS["clan"].init(
        jax.random.key(0), jnp.zeros((1, 2, 2, 1)), config=config, model=model
    )
    params = {
        name: {"kernel": jnp.asarray(table)}
        for name, table in zip(("layer5", "layer6"), tables, strict=True)
    }
    state = state.replace(
        params={"segmenter": params, "discriminator": discriminator_params(str(case["salt"]))},
        step=jnp.int32(WARMUP_STEPS),
    )
    images = [np.full((1, 2, 2, 1), value, np.float32) for value in (SOURCE, TARGET)]
    mask = np.ones(1, bool)
    batch = {
        "source": {
            "image": images[0],
            "label": np.full((1, *full_size), 255, np.int32),
            "mask": mask,
        }
    }
    return config, step, state, batch | {"target": {"image": images[1], "mask": mask}}


def assert_gradient(config, case, name, before, after):
    """The target's logits have followed lambda_adv * damping * the file's gradient downhill; the
    source's, unlabelled, none.
    """
    fade = config.adversarial.weight * (1 - int(before.step) / config.steps)
    for layer, low in (("layer5", "low1"), ("layer6", "low2")):
        a, b = (
            np.asarray(state.params["segmenter"][layer]["kernel"], np.float64)
            for state in (before, after)
        )
        expected = last(case[f"{name}_grad_{low}"])[0]
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_allclose(
            (a[1] - b[1]) / (RATE * fade),
            expected,
            rtol=0,
            atol=GRADIENT_TOLERANCE * np.abs(expected).max(),
        )


@pytest.mark.parametrize(
    "name", ["adaptive", pytest.param("adaptive_detached_map", marks=pytest.mark.slow)]
)
def test_the_segmenter_fools_the_discriminator_as_the_authors_does(golden, name):
    """After the warm-up the disagreement weighs the loss; its map carries gradient, but for the
    option that stops it.
    """
    case = golden("clan_dstep")[""]
    config, step, state, batch = setting(case, differentiate_map=name == "adaptive")
    state = state.replace(step=jnp.int32(WARMUP_STEPS + 1))
    after, metrics = step(state, batch)
    np.testing.assert_allclose(metrics["adversarial"], case[f"{name}_loss"], rtol=LOSS_TOLERANCE)
    np.testing.assert_allclose(metrics["disagreement"], case["map_mean"], rtol=LOSS_TOLERANCE)
    assert metrics["segmentation"] == 0
    assert_gradient(config, case, name, state, after)


def torch_layout(params, name):
    layer, leaf = name.split(".")
    return (
        np.asarray(params[layer]["kernel"]).transpose(3, 2, 0, 1)
        if leaf == "weight"
        else np.asarray(params[layer]["bias"])
    )


def test_three_updates_of_the_discriminator_are_the_authors(golden):
    """Plain at first, adaptive afterwards, the recipe's Adam; the predictions are put back after
    every step.
    """
    case = golden("clan_dstep")[""]
    config, step, state, batch = setting(case)
    for i in range(3):
        after, metrics = step(state, batch)
        for domain, short in (("source", "s"), ("target", "t")):
            np.testing.assert_allclose(
                metrics[f"discriminator_{domain}"],
                case[f"it{i}_loss_D_{short}"],
                rtol=2 * LOSS_TOLERANCE,
                err_msg=str(i),
            )
        norms = [value for key, value in case.items() if key.startswith(f"it{i}_gradnorm_")]
        np.testing.assert_allclose(
            metrics["grad_norm_discriminator"],
            np.sqrt(np.sum(np.square(norms))),
            rtol=GRADIENT_TOLERANCE,
        )
        names = [key.split("_after_")[1] for key in case if key.startswith(f"it{i}_after_")]
        assert len(names) == 10
        for name in names:
            value, expected = (
                torch_layout(after.params["discriminator"], name),
                case[f"it{i}_after_{name}"],
            )
            atol = GRADIENT_TOLERANCE * np.abs(value).max()
            np.testing.assert_allclose(
                value.reshape(-1)[: len(expected)],
                expected,
                rtol=0,
                atol=atol,
                err_msg=f"{i} {name}",
            )
            np.testing.assert_allclose(
                np.linalg.norm(value.astype(np.float64)),
                case[f"it{i}_afternorm_{name}"],
                rtol=GRADIENT_TOLERANCE,
            )
        if i == 0:
            np.testing.assert_allclose(
                metrics["adversarial"], case["plain_loss"], rtol=LOSS_TOLERANCE
            )
            assert_gradient(config, case, "plain", state, after)
        state = after.replace(params=after.params | {"segmenter": state.params["segmenter"]})
