"""What a training step keeps for its gradient: of a normalisation its input, of a ReLU its result,
and of the blocks that config.model.remat names their inputs. The values are the same.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_trees_close
from deeplab_settings import RESNET101, SMALL, VGG16
from ml_collections import ConfigDict

from dajax import parallel
from dajax.engine.config_check import check_config
from dajax.engine.old_config import with_added_keys
from dajax.errors import UserError
from dajax.models.build import build_model
from dajax.models.deeplab import build_segmenter
from dajax.models.layers import add_relu, relu
from dajax.models.norm import DomainBatchNorm, Mode
from dajax.models.resnet import ResNet
from dajax.recipes import can, clan, plca


def planned(remat):
    """((gradients, (loss, statistics)), bytes of working memory) of a stage of four blocks."""
    model = ResNet(stage_sizes=(4,), block="bottleneck", widths=(4,), stem="small", remat=remat)
    images = np.random.default_rng(0).standard_normal((2, 64, 96, 3)).astype(np.float32)
    variables = jax.jit(lambda: model.init(jax.random.key(0), images, Mode()))()

    def step(variables, images, mask, axis_name):
        def loss(params):
            features, updated = model.apply(
                {**variables, "params": params},
                images,
                Mode(train=True, mask=mask),
                mutable=["batch_stats"],
            )
            value = jnp.square(features - 1.0).mean()
            return value, (value, updated["batch_stats"])

        return jax.grad(loss, has_aux=True)(variables["params"])

    mask = np.array([True, False])
    compiled = parallel.compile_train_step(step, jax.devices()[:1]).lower(variables, images, mask)
    compiled = compiled.compile()
    work = compiled.memory_analysis().temp_size_in_bytes
    return compiled(variables, images, mask), work


def test_what_is_computed_twice_has_the_same_value_and_needs_less_memory():
    """1e-5 of each array's largest entry: another order of the same float32 sums."""
    (values, work), (expected, all_work) = planned(("layer1",)), planned(())
    assert_trees_close(values, expected, 1e-5)
    assert work < 0.8 * all_work


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_normalisation_keeps_its_input_in_its_own_type(dtype):
    layer, x = DomainBatchNorm(), jnp.ones((2, 3, 4, 5), dtype)
    variables = layer.init(jax.random.key(0), x, Mode())

    def normalized(x, params):
        mode = Mode(train=True, mask=jnp.ones(2, bool))
        variables_now = {**variables, "params": params}
        return layer.apply(variables_now, x, mode, mutable=["batch_stats"])[0]

    _, pull = jax.vjp(normalized, x, variables["params"])
    assert [leaf.dtype for leaf in jax.tree.leaves(pull) if leaf.size >= x.size] == [dtype]


def test_normalisations_gradient_is_that_of_its_formula():
    """Also in a row that does not count, which is normalised with the others' statistics."""
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((2, 4, 3, 2, 5)).astype(np.float32)
    mask = np.array([True, True, False, True])
    layer = DomainBatchNorm()
    variables = layer.init(jax.random.key(0), x, Mode())
    params = jax.tree.map(lambda leaf: leaf + 0.5, variables["params"])

    def ours(x, params):
        y, _ = layer.apply(
            {**variables, "params": params},
            x,
            Mode(train=True, mask=jnp.asarray(mask)),
            mutable=["batch_stats"],
        )
        return (jnp.sin(y) * weights).sum()

    def formula(x, params):
        counted = x[mask]
        mean, var = counted.mean((0, 1, 2), keepdims=True), counted.var((0, 1, 2), keepdims=True)
        scale, bias = (params[name].reshape(1, 1, 1, -1) for name in ("scale", "bias"))
        return (jnp.sin((x - mean) / jnp.sqrt(var + 1e-5) * scale + bias) * weights).sum()

    assert_trees_close(
        jax.jit(jax.grad(ours, (0, 1)))(x, params),
        jax.jit(jax.grad(formula, (0, 1)))(x, params),
        1e-5,
    )


def test_relus_have_jaxs_values_and_gradients_and_keep_their_results():
    x = jnp.array([-1.0, -0.0, 0.0, 2.0, jnp.nan, jnp.inf])
    y, pull = jax.vjp(relu, x)
    expected, expected_pull = jax.vjp(jax.nn.relu, x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(pull(x + 1)[0], expected_pull(x + 1)[0])
    (kept,) = jax.tree.leaves(pull)
    np.testing.assert_array_equal(kept, y)
    a = jnp.array([1.0, -3.0, 0.5, 2.0])
    b = jnp.array([-1.0, 1.0, 0.5, -3.0])
    y, pull = jax.vjp(add_relu, a, b)
    np.testing.assert_array_equal(y, [0, 0, 1, 0])
    np.testing.assert_array_equal(pull(jnp.ones(4)), [[0, 0, 1, 0]] * 2)


def test_two_gradients_after_each_other_do_not_stand_in_memory_together():
    """XLA's CPU compiler by itself begins with both forward passes."""
    weights, x = jnp.ones((32, 32)) / 32, jnp.ones((1024, 32))

    def gradient(weights, x):
        def loss(weights):
            y = x
            for _ in range(16):
                y = jnp.sin(y @ weights)
            return y.sum()

        return jax.grad(loss)(weights)

    def step(weights, x, _rng, axis_name):
        first = gradient(weights, x)
        weights, first = jax.lax.optimization_barrier((weights, first))
        return first + gradient(weights, 2.0 * x), {}

    def work(compiled):
        return compiled.lower(weights, x, None).compile().memory_analysis().temp_size_in_bytes

    one = work(jax.jit(lambda weights, x, rng: gradient(weights, x)))
    assert work(parallel.compile_train_step(step, jax.devices()[:1])) < 1.4 * one


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            SMALL | dict(remat="layer5"),
            "remat='layer5': unknown; known: none, all, or stages joined by \\+, of layer1, layer2,"
            " layer3, layer4$",
        ),
        (RESNET101 | dict(remat=""), "remat='': unknown; known: none, all"),
        (
            VGG16 | dict(remat="all"),
            "remat='all': vgg16 has no residual blocks to compute again; set it to 'none'$",
        ),
    ],
)
def test_a_stage_that_the_network_does_not_have_is_an_error(settings, message):
    with pytest.raises(UserError, match=message):
        build_segmenter(ConfigDict(settings), 3, 1)


def test_the_key_reaches_both_tasks_networks():
    config = can.get_config()
    config.model.remat = "layer1+layer3"
    model = build_model(config.model, config.can, num_classes=10)
    assert model.backbone.remat == ("layer1", "layer3")
    config.model.remat = "layer4"  # the small network has three
    with pytest.raises(UserError, match="config.model.remat='layer4': unknown"):
        build_model(config.model, config.can, num_classes=10)


def test_a_run_goes_on_with_another_value_and_an_old_workdir_keeps_everything(tmp_path):
    config = clan.get_config()
    check_config(config, tmp_path)
    config.model.remat = "all"
    assert check_config(config, tmp_path) == {}
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["model"]["remat"]
    assert with_added_keys(stored)["model"]["remat"] == "none"
    (tmp_path / "config.json").write_text(json.dumps(stored))
    assert check_config(config, tmp_path) == {}


def test_only_plcas_published_recipe_computes_anything_twice():
    pair = "gta5_to_cityscapes,source_root=DIR,target_root=DIR,weights=none"
    assert plca.get_config(pair).model.remat == "layer3"
    assert {plca.get_config().model.remat, clan.get_config(pair).model.remat} == {"none"}
