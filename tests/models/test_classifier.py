"""The classifier from a config: its trees, its gradient stop, masked batches, devices."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from dajax.errors import UserError
from dajax.models.build import build_model
from dajax.models.classifier import Classifier, build_classifier
from dajax.models.norm import Mode
from dajax.recipes.base import common as base

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
    assert set(variables["params"]) == {"backbone", "head"} and set(variables["batch_stats"]) == {
        "backbone"
    }
    assert jax.tree.map(jnp.shape, variables["params"]["head"]) == {"kernel": (16, 5), "bias": (5,)}
    assert variables["params"]["backbone"]["layer2_0"]["downsample_bn"]["scale"].shape == (2, 8)
    assert not variables["params"]["head"]["bias"].any()
    output = jax.eval_shape(lambda: model.apply(variables, images, Mode(norm_set=1)))
    assert output.features.shape == (8, 16) and output.logits.shape == (8, 5)


def test_head_is_linear_in_the_features(small):
    model, images, variables = small
    output = model.apply(variables, images, Mode())
    head = variables["params"]["head"]
    np.testing.assert_allclose(
        output.logits, output.features @ head["kernel"] + head["bias"].reshape(1, -1), atol=1e-5
    )
    assert (output.features >= 0).all()


def test_frozen_parameters_are_exactly_those_without_gradient(small):
    model, images, variables = small

    def loss(params):
        output, _ = model.apply(
            {**variables, "params": params}, images, Mode(train=True), mutable=["batch_stats"]
        )
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
        output, updated = model.apply(
            {**variables, "params": params}, images, mode, mutable=["batch_stats"]
        )
        return jnp.square(output.logits).sum(), updated["batch_stats"]

    grads, stats = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    jax.tree.map(np.testing.assert_array_equal, stats, variables["batch_stats"])


@pytest.mark.slow
def test_four_devices_are_one_device(small):
    """The whole network, uneven masks, gradients summed over devices: differences add up over 13
    layers to 1e-5 of the largest entry.
    """
    model, images, variables = small
    mask = jnp.array([1, 1, 1, 0, 0, 0, 1, 0], bool)

    def step(params, images, mask, axis_name=None):
        def loss(params):
            mode = Mode(train=True, norm_set=1, mask=mask, axis_name=axis_name)
            output, updated = model.apply(
                {**variables, "params": params}, images, mode, mutable=["batch_stats"]
            )
            return (
                jnp.square(output.logits).sum(-1) * mask.astype(jnp.float32)
            ).sum() / 4.0, updated["batch_stats"]

        grads, stats = jax.grad(loss, has_aux=True)(params)
        return (grads if axis_name is None else jax.lax.psum(grads, axis_name)), stats

    expected = jax.jit(step)(variables["params"], images, mask)
    mapped = jax.pmap(
        lambda *args: step(*args, axis_name="devices"),
        axis_name="devices",
        in_axes=(None, 0, 0),
        out_axes=None,
    )
    actual = mapped(variables["params"], images.reshape(4, 2, 16, 16, 1), mask.reshape(4, 2))
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[0]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale),
        actual[0],
        expected[0],
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), actual[1], expected[1]
    )


def test_equal_configs_are_equal_models():
    """Compiled functions are cached by model: an equal config must not compile again."""
    assert build_classifier(SMALL, 5, 2) == build_classifier(SMALL, 5, 2)
    assert hash(build_classifier(SMALL, 5, 2)) == hash(build_classifier(SMALL, 5, 2))


class Given(nn.Module):
    """A backbone whose features are its images [N, 16]: what follows it is the test's matter, and
    compiles at once.
    """

    num_domains: int = 1

    def __call__(self, images, mode):
        return images


def forward(*, train, rng=None, rows=None, **settings):
    """Variables and Output of eight rows through what follows the backbone."""
    model = Classifier(backbone=Given(), num_classes=5, **settings)
    images = jax.random.uniform(jax.random.key(0), (8, 16))
    variables = model.init(jax.random.key(1), images, Mode())
    mode = Mode(train=train, rows=jnp.arange(8) if rows is None else rows)
    rngs = {} if rng is None else {"dropout": jax.random.key(rng)}
    output, _ = model.apply(variables, images, mode, rngs=rngs, mutable=["batch_stats"])
    return images, variables, output


DANS = dict(bottleneck=400, bottleneck_norm=False, dropout=0.5, head_init="torch")


def test_the_settings_reach_the_network():
    model = build_classifier(small_with(**DANS, head_widths=(30, 20)), 5, 1)
    assert (
        model.bottleneck,
        model.bottleneck_norm,
        model.dropout,
        model.head_init,
        model.head_widths,
    ) == (400, False, 0.5, "torch", (30, 20))


def test_dans_bottleneck_is_linear_relu_dropout():
    """Without normalisation; half of the outputs fall out of a training step, and the others count
    twice.
    """
    images, variables, whole = forward(train=False, **DANS)
    dense = variables["params"]["bottleneck"]["dense"]
    assert set(variables["params"]["bottleneck"]) == {"dense"} and "batch_stats" not in variables
    plain = np.maximum(images @ dense["kernel"] + dense["bias"].reshape(1, -1), 0)
    np.testing.assert_allclose(whole.features, plain, atol=1e-5)
    dropped, again, other = (
        np.asarray(forward(train=True, rng=rng, **DANS)[2].features) for rng in (0, 0, 1)
    )
    kept = dropped != 0
    np.testing.assert_allclose(dropped, np.where(kept, 2 * plain, 0), rtol=1e-5, atol=1e-5)
    # about 1,600 draws: five standard deviations
    assert abs(kept[plain > 1e-3].mean() - 0.5) < 0.06
    np.testing.assert_array_equal(again, dropped)
    assert ((other != 0) != kept).mean() > 0.1


def test_what_falls_out_goes_by_a_rows_number():
    """Rows with other numbers drop otherwise; the same numbers in another order drop the same, row
    by row.
    """
    order = jnp.arange(8)[::-1]
    plain, moved = (
        np.asarray(forward(train=True, rng=0, rows=rows, **DANS)[2].features)
        for rows in (None, order)
    )
    alive = np.asarray(forward(train=False, **DANS)[2].features) > 1e-3
    both = alive & alive[::-1]  # in the row, and in the one that had its number
    np.testing.assert_array_equal((plain != 0)[both], (moved != 0)[::-1][both])
    assert ((plain != 0) != (moved != 0))[alive].any()


def test_mcds_head_drops_before_each_hidden_layer():
    settings = dict(head_widths=(30, 20), dropout=0.5, head_init="torch")
    images, variables, output = forward(train=True, rng=0, **settings)
    assert set(variables["params"]["head"]) == {"hidden0", "hidden1", "linear"}
    np.testing.assert_array_equal(output.features, images)  # the features themselves are whole
    plain = forward(train=True, **settings | {"dropout": 0.0})[2]
    assert np.abs(output.logits - plain.logits).max() > 1e-3
    np.testing.assert_array_equal(
        *(forward(train=False, rng=rng, **settings)[2].logits for rng in (0, 1))
    )


def test_mdds_head_drops_after_each_hidden_layer_and_has_no_norm():
    settings = dict(head_widths=(30,), head_layers="plain", dropout=0.5)
    images, variables, output = forward(train=True, rng=0, **settings)
    head = variables["params"]["head"]
    assert set(head["hidden0"]) == {"dense"} and "batch_stats" not in variables
    hidden = jax.nn.relu(
        images @ head["hidden0"]["dense"]["kernel"] + head["hidden0"]["dense"]["bias"][None]
    )
    whole = hidden @ head["linear"]["kernel"] + head["linear"]["bias"][None]
    plain = forward(train=True, **settings | {"dropout": 0.0})[2]
    np.testing.assert_allclose(plain.logits, whole, atol=1e-5)
    assert np.abs(output.logits - plain.logits).max() > 1e-3


def test_a_bottleneck_without_relu_and_a_weight_normalised_head_are_shots():
    """The head begins as a linear one, and its output goes by direction and length."""
    settings = dict(bottleneck=6, bottleneck_relu=False, head_weight_norm=True, head_init="xavier")
    _, variables, output = forward(train=False, **settings)
    assert (output.features < 0).any()
    head = variables["params"]["head"]
    assert set(head) == {"direction", "length", "bias"} and not head["bias"].any()
    np.testing.assert_allclose(output.logits, output.features @ head["direction"], atol=1e-5)
    model = Classifier(backbone=Given(), num_classes=5, **settings)
    for factor, key in ((1.0, "direction"), (3.0, "length")):
        changed = {**variables["params"], "head": {**head, key: 3.0 * head[key]}}
        images = jax.random.uniform(jax.random.key(0), (8, 16))
        again = model.apply({**variables, "params": changed}, images, Mode())
        np.testing.assert_allclose(again.logits, factor * output.logits, atol=1e-5)


def test_a_head_begins_as_cans_or_as_torchs_own():
    """kaiming_normal_ and a bias of 0; U(-b, b), b = 1 / sqrt(16), for kernel and bias."""
    cans, torchs = (
        forward(train=False, head_init=init)[1]["params"]["head"] for init in ("kaiming", "torch")
    )
    assert not cans["bias"].any() and np.abs(cans["kernel"]).max() > 0.5
    for leaf in torchs.values():
        assert 0 < np.abs(leaf).max() <= 0.25
    deep = forward(train=False, head_init="torch", head_widths=(16,))[1]["params"]["head"]["linear"]
    assert 0 < np.abs(deep["bias"]).max() <= 0.25 and np.abs(deep["kernel"]).max() <= 0.25


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"dropout": 0.5},
            "dropout=0.5 needs a layer to drop from: set bottleneck or head_widths, or dropout=0",
        ),
        ({"dropout": 1.0, "bottleneck": 4}, "dropout=1.0: expected a fraction, 0 <= dropout < 1"),
        ({"head_init": "zeros"}, "head_init='zeros': unknown; known: kaiming, torch, xavier"),
        ({"head_layers": "deep"}, "head_layers='deep': unknown; known: norm, plain"),
        ({"head_layers": "plain"}, "head_layers='plain' says how head_widths is made, of which"),
        ({"bottleneck_relu": False}, "bottleneck_relu=False says how bottleneck is made, of which"),
    ],
)
def test_a_setting_that_would_do_nothing_or_is_unknown_is_an_error(changes, message):
    with pytest.raises((UserError, ValueError), match=message):
        build_classifier(small_with(**changes), 5, 1)


def test_a_config_of_another_version_is_refused_in_one_line():
    with pytest.raises(
        UserError,
        match=(
            "config.model: bottleneck_norm, bottleneck_relu, head_layers, dropout, head_init,"
            " head_weight_norm, remat missing: the config was written by another version"
        ),
    ):
        old = ConfigDict(
            {"backbone": "resnet_small", "widths": (4,), "bottleneck": 0, "head_widths": ()}
        )
        build_model(old, ConfigDict({"target_bn": 0, "stop_gradient_after": ""}), num_classes=5)


def test_an_unknown_backbone_is_an_error():
    with pytest.raises(
        UserError, match="backbone='vgg': unknown; known: resnet_small, resnet50, resnet101"
    ):
        build_classifier(small_with(backbone="vgg"), 5, 1)
    with pytest.raises(ValueError, match="unknown stop_gradient_after 'layer9'"):
        build_classifier(SMALL, 5, 1, stop_gradient_after="layer9")
