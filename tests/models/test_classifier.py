"""The classifier from a config: its trees, what the gradient stop freezes, masked batches, devices."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from dajax.models.classifier import build_classifier
from dajax.models.norm import Mode

SMALL = base.base("").model
SMALL.widths = (4, 8, 16)


def small_with(**changes):
    config = SMALL.copy_and_resolve_references()
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def small():
    model = build_classifier(SMALL, 5, 2, stop_gradient_after="layer1")
    images = jax.random.normal(jax.random.key(0), (8, 16, 16, 1))
    return model, images, jax.jit(lambda: model.init(jax.random.key(1), images, Mode()))()


def test_tree_is_backbone_and_head(small):
    model, images, variables = small
    assert set(variables["params"]) == {"backbone", "head"} and set(variables["batch_stats"]) == {"backbone"}
    assert jax.tree.map(jnp.shape, variables["params"]["head"]) == {"kernel": (16, 5), "bias": (5,)}
    assert variables["params"]["backbone"]["layer2_0"]["downsample_bn"]["scale"].shape == (2, 8)
    assert not variables["params"]["head"]["bias"].any()
    output = jax.eval_shape(lambda: model.apply(variables, images, Mode(domain=1)))
    assert output.features.shape == (8, 16) and output.logits.shape == (8, 5)


def test_head_is_linear_in_the_features(small):
    model, images, variables = small
    output = model.apply(variables, images, Mode())
    head = variables["params"]["head"]
    np.testing.assert_allclose(output.logits, output.features @ head["kernel"] + head["bias"].reshape(1, -1), atol=1e-5)
    assert (output.features >= 0).all()


def test_frozen_parameters_are_exactly_those_without_gradient(small):
    model, images, variables = small

    def loss(params):
        output, _ = model.apply({**variables, "params": params}, images, Mode(train=True), mutable=["batch_stats"])
        return jnp.square(output.logits).sum()

    grads = {"classifier": jax.jit(jax.grad(loss))(variables["params"])}
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        frozen = any(re.search(pattern, name) for pattern in model.frozen_parameters())
        assert frozen != bool(leaf.any()), name
    assert build_classifier(SMALL, 5, 2).frozen_parameters() == ()


def test_a_batch_without_any_valid_row_stays_finite(small):
    """Through all layers, on the network as it is initialised."""
    model, images, variables = small

    def loss(params):
        mode = Mode(train=True, mask=jnp.zeros(8, bool))
        output, updated = model.apply({**variables, "params": params}, images, mode, mutable=["batch_stats"])
        return jnp.square(output.logits).sum(), updated["batch_stats"]

    grads, stats = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    jax.tree.map(np.testing.assert_array_equal, stats, variables["batch_stats"])


@pytest.mark.slow
def test_four_devices_are_one_device(small):
    """The whole network, uneven masks, gradients summed over devices: differences add up over 13 layers to 1e-5 of the largest entry."""
    model, images, variables = small
    mask = jnp.array([1, 1, 1, 0, 0, 0, 1, 0], bool)

    def step(params, images, mask, axis_name=None):
        def loss(params):
            mode = Mode(train=True, domain=1, mask=mask, axis_name=axis_name)
            output, updated = model.apply({**variables, "params": params}, images, mode, mutable=["batch_stats"])
            return (jnp.square(output.logits).sum(-1) * mask.astype(jnp.float32)).sum() / 4.0, updated["batch_stats"]

        grads, stats = jax.grad(loss, has_aux=True)(params)
        return (grads if axis_name is None else jax.lax.psum(grads, axis_name)), stats

    expected = jax.jit(step)(variables["params"], images, mask)
    mapped = jax.pmap(lambda *args: step(*args, axis_name="devices"), axis_name="devices", in_axes=(None, 0, 0), out_axes=None)
    actual = mapped(variables["params"], images.reshape(4, 2, 16, 16, 1), mask.reshape(4, 2))
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale), actual[0], expected[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), actual[1], expected[1])


def test_equal_configs_are_equal_models():
    """Compiled functions are cached by model: an equal config must not compile again."""
    assert build_classifier(SMALL, 5, 2) == build_classifier(SMALL, 5, 2)
    assert hash(build_classifier(SMALL, 5, 2)) == hash(build_classifier(SMALL, 5, 2))


def test_an_unknown_backbone_is_an_error():
    with pytest.raises(ValueError, match="unknown backbone 'vgg'; known: resnet_small, resnet50, resnet101"):
        build_classifier(small_with(backbone="vgg"), 5, 1)
    with pytest.raises(ValueError, match="unknown stop_gradient_after 'layer9'"):
        build_classifier(SMALL, 5, 1, stop_gradient_after="layer9")
