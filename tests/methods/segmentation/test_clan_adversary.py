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
from batches import part
from compare import assert_close, assert_value
from golden_arrays import between
from recipe_weights import discriminator_params

from dajax.methods import METHODS
from dajax.models.aspp import SegOutput
from dajax.ops.labels import IGNORED
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
    align_corners: ClassVar[bool] = True

    @property
    def num_classes(self):
        return self.shape[-1]

    def frozen_parameters(self):
        return ()

    def twin_heads(self, params):
        return params["layer5"], params["layer6"]

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
def compiled(full_size, shape, differentiate_map, epsilon, local_weight, weight):
    """(config, model, step) of the recipe's stage, the adversary alone: no labelled pixel, no
    weight loss, plain SGD for the tables; the adversary's constants as given.
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
    config.adversarial.update(epsilon=epsilon, local_weight=local_weight, weight=weight)
    model, method = Logits(shape), METHODS["clan"]

    def step(state, batch):
        return method.train_step(state, batch, jax.random.key(0), config=config, model=model)

    return config, model, jax.jit(step)


def setting(case, differentiate_map=True):
    """(config, step, state at the file's predictions and weights, batch)."""
    full_size = tuple(int(n) for n in case["full_size"])
    # layer5, layer6: [2, h, w, K]
    tables = [np.concatenate([last(case[f"src_low{i}"]), last(case[f"low{i}"])]) for i in (1, 2)]
    constants = (float(case[name]) for name in ("eps", "lam_local", "lam_adv"))
    config, model, step = compiled(full_size, tables[0].shape, differentiate_map, *constants)
    state = METHODS["clan"].init(
        jax.random.key(0), jnp.zeros((1, 2, 2, 1)), config=config, model=model
    )
    layers = zip(("layer5", "layer6"), tables, strict=True)
    params = {name: {"kernel": jnp.asarray(table)} for name, table in layers}
    state = state.replace(
        params={"segmenter": params, "discriminator": discriminator_params(str(case["salt"]))},
        step=jnp.int32(WARMUP_STEPS),
    )
    images = [np.full((1, 2, 2, 1), value, np.float32) for value in (SOURCE, TARGET)]
    nothing = np.full((1, *full_size), IGNORED)
    return config, step, state, {"source": part(images[0], nothing), "target": part(images[1])}


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
        assert_close((a[1] - b[1]) / (RATE * fade), expected, GRADIENT_TOLERANCE)


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
    assert_value(metrics["adversarial"], case[f"{name}_loss"], LOSS_TOLERANCE)
    assert_value(metrics["disagreement"], case["map_mean"], LOSS_TOLERANCE)
    assert metrics["segmentation"] == 0
    assert_gradient(config, case, name, state, after)


LAYERS = ("conv1", "conv2", "conv3", "conv4", "classifier")


def torch_layout(params):
    """{torch name: array in torch's layout} of the discriminator."""
    kernels = {
        f"{layer}.weight": np.asarray(params[layer]["kernel"]).transpose(3, 2, 0, 1)
        for layer in LAYERS
    }
    return kernels | {f"{layer}.bias": np.asarray(params[layer]["bias"]) for layer in LAYERS}


def test_three_updates_of_the_discriminator_are_the_authors(golden):
    """Plain at first, adaptive afterwards, the recipe's Adam; the predictions are put back after
    every step.
    """
    case = golden("clan_dstep")[""]
    config, step, state, batch = setting(case)
    for i in range(len(between(case, "it", "_loss_D_s"))):
        after, metrics = step(state, batch)
        for domain, short in (("source", "s"), ("target", "t")):
            # half a logarithm each, which the weights multiply
            expected = case[f"it{i}_loss_D_{short}"]
            found = metrics[f"discriminator_{domain}"]
            assert_value(found, expected, 2 * LOSS_TOLERANCE, err_msg=str(i))
        entries = torch_layout(after.params["discriminator"])
        norms = [case[f"it{i}_gradnorm_{name}"] for name in entries]
        norm = np.sqrt(np.sum(np.square(norms)))
        assert_value(metrics["grad_norm_discriminator"], norm, GRADIENT_TOLERANCE)
        for name, value in entries.items():
            first, unit = case[f"it{i}_after_{name}"], np.abs(value).max()
            found = value.reshape(-1)[: len(first)]
            assert_close(found, first, GRADIENT_TOLERANCE, unit=unit, err_msg=f"{i} {name}")
            norm = np.linalg.norm(value.astype(np.float64))
            assert_value(norm, case[f"it{i}_afternorm_{name}"], GRADIENT_TOLERANCE)
        if i == 0:
            assert_value(metrics["adversarial"], case["plain_loss"], LOSS_TOLERANCE)
            assert_gradient(config, case, "plain", state, after)
        state = after.replace(params=after.params | {"segmenter": state.params["segmenter"]})
