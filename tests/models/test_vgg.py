"""VGG-16: DeeplabVGG against deeplab_asn_vgg.npz, and FCN8s."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from deeplab_settings import VGG16
from ml_collections import ConfigDict
from recipe_weights import (
    recipe_state_dict,
    relative_error,
    shapes_of,
    sizes_in,
    slow_but,
    tap_errors,
)

from dajax.losses.adversarial import weight_cosine
from dajax.models.aspp import KERNEL_INITS, SegOutput
from dajax.models.deeplab import build_segmenter
from dajax.models.norm import Mode
from dajax.models.seg_weights import from_torch_segmenter
from dajax.models.vgg import FCN8s
from dajax.ops.resize import resize_bilinear

TOLERANCE = 1e-4  # tests/golden/README.md: float32, max |a - b| / max |b|
TAPS = {
    "pool1": "features.4",
    "pool2": "features.9",
    "pool3": "features.16",
    "conv5": "features.28",
    "fc7": "features.32",
}


SIZES = sizes_in("deeplab_asn_vgg")
QUICK = SIZES[1:2]  # whose taps are compared


def make(**settings):
    return build_segmenter(ConfigDict(VGG16 | settings), 19, 1)


def load(model, salt):
    state_dict = recipe_state_dict("asn_vgg", salt)
    params, stats, report = from_torch_segmenter(state_dict, *shapes_of(model, (1, 64, 64, 3)))
    assert (
        len(report.loaded) == len(state_dict) == 38
        and not report.missing
        and not jax.tree.leaves(stats)
    )
    return params


@pytest.mark.parametrize("size", slow_but(QUICK, SIZES))
def test_deeplab_vgg_is_adaptsegnets(golden, size):
    arrays = golden("deeplab_asn_vgg")[""]
    params = load(make(), str(arrays["salt"]))

    @jax.jit
    def run(params, images):
        output, taken = make().apply(
            {"params": params},
            images,
            Mode(),
            capture_intermediates=lambda _, method: method == "stage_outputs",
            mutable="intermediates",
        )
        all_branches = make(aspp_branches=4).apply({"params": params}, images, Mode())
        return output, all_branches.logits, taken["intermediates"]["backbone"]["stage_outputs"][0]

    output, all_branches, stages = run(
        params, jnp.asarray(arrays[f"{size}_image"].transpose(0, 2, 3, 1))
    )
    errors = {
        "logits": relative_error(
            np.asarray(output.logits).transpose(0, 3, 1, 2), arrays[f"{size}_logits"]
        ),
        "all4": relative_error(
            np.asarray(all_branches).transpose(0, 3, 1, 2), arrays[f"{size}_logits_all4"]
        ),
    }
    if size in QUICK:
        errors |= tap_errors(
            arrays, size, {TAPS[name]: x for name, x in stages.items() if name in TAPS}
        )
    worst = max(errors, key=errors.get)
    assert errors[worst] < TOLERANCE, (worst, errors[worst])


def test_deeplab_vgg_has_adaptsegnets_parameters():
    assert (
        sum(leaf.size for leaf in jax.tree.leaves(shapes_of(make(), (1, 64, 64, 3))[0]))
        == 29_573_004
    )


def test_fcn8s_adds_up_the_scores_of_three_strides():
    """With scores that see channel 0 of their map only, and weights that carry the red channel
    through to all of them.
    """
    model = make(backbone="vgg16_fcn8s")
    assert isinstance(model, FCN8s)
    params, _ = shapes_of(model, (1, 64, 64, 3))
    params = jax.tree.map(np.copy, params)
    for name, layer in params.items():
        side = layer["kernel"].shape[0] // 2
        layer["kernel"][side, side, 0, 0] = {"score_pool3": 100.0, "score_pool4": 10.0}.get(
            name, 1.0
        )
    images = np.abs(np.random.default_rng(0).standard_normal((1, 72, 64, 3))).astype(np.float32)
    output = jax.jit(lambda params, images: model.apply({"params": params}, images, Mode()))(
        params, images
    )

    pools, x = [], images[..., :1]
    for _ in range(5):
        height, width = x.shape[1] // 2, x.shape[2] // 2
        x = x[:, : 2 * height, : 2 * width].reshape(1, height, 2, width, 2, 1).max((2, 4))
        pools.append(x)
    fused = resize_bilinear(jnp.asarray(pools[4]), (4, 4)) + 10.0 * pools[3]
    expected = resize_bilinear(fused, (9, 8)) + 100.0 * pools[2]
    assert (
        output.logits.shape == (1, 9, 8, 19)
        and output.features.shape == (1, 9, 8, 4096)
        and output.aux_logits is None
    )
    np.testing.assert_allclose(output.logits[..., :1], expected, rtol=1e-5)
    assert not output.logits[..., 1:].any()
    np.testing.assert_array_equal(model.prediction_logits(output), output.logits)


def test_twin_heads_on_fcn8s_are_its_scores_twice():
    """They begin apart, so that CLAN's cosine of their weights is below 1; the sum predicts."""
    model = make(backbone="vgg16_fcn8s", heads="twin")
    params, _ = shapes_of(model, (1, 32, 32, 3))
    aux, main = model.twin_heads(params)
    assert jax.tree.map(np.shape, aux) == jax.tree.map(np.shape, main) and len(main) == 3
    assert set(params) == set(shapes_of(make(backbone="vgg16_fcn8s"), (1, 32, 32, 3))[0]) | {
        f"{name}_aux" for name in main
    }
    output = jax.eval_shape(
        lambda images: model.apply({"params": params}, images, Mode()), jnp.zeros((2, 40, 32, 3))
    )
    assert output.logits.shape == output.aux_logits.shape == (2, 5, 4, 19)
    drawn = KERNEL_INITS["normal"](jax.random.key(0), (1, 1, 512, 19))
    again = KERNEL_INITS["normal"](jax.random.key(1), (1, 1, 512, 19))
    one, other = ({name: {"kernel": x} for name in main} for x in (drawn, again))
    assert abs(float(weight_cosine(one, other, with_biases=True))) < 0.1
    output = SegOutput(None, jnp.ones((1, 1, 1, 19)), 2 * jnp.ones((1, 1, 1, 19)))
    assert (model.prediction_logits(output) == 3).all()


def test_a_vgg_has_twin_heads_on_its_last_layer():
    params, _ = shapes_of(make(heads="twin"), (1, 32, 32, 3))
    assert {"layer5", "layer6"} < set(params)


def test_fcn8s_has_the_parameters_of_vgg16_and_three_scores():
    """138,357,544 of torchvision's vgg16, less its last layer's 4096 * 1000 + 1000."""
    params, _ = shapes_of(make(backbone="vgg16_fcn8s"), (1, 32, 32, 3))
    scores = 19 * (4096 + 512 + 256 + 3)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 138_357_544 - 4_097_000 + scores
