"""DINOv2's and DINOv3's encoder with VFM-UDA's head, against a program in torch."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import channels_first, channels_last
from ml_collections import ConfigDict
from recipe_weights import recipe, relative_error, shapes_of

from dajax.errors import UserError
from dajax.models.norm import Mode
from dajax.models.torch_names import torch_name, torch_shape
from dajax.models.vit import VARIANTS, Variant, ViT
from dajax.models.vit_segmenter import ViTSegmenter, build_segmenter
from dajax.models.vit_weights import from_torch_vit
from dajax.ops.resize import resize_bilinear

CASES = ("plain", "registers", "rotary")


def segmenter(arrays, case, *, dtype="float32", remat=False):
    """The golden network of a case; classes and widths are the file's."""
    width, depth, heads, patch, classes = arrays[""]["sizes"].tolist()
    grid, registers, epsilon = arrays[case]["grid_registers_epsilon"].tolist()
    variant = Variant(
        width, depth, heads, patch, registers=int(registers), grid=int(grid), epsilon=epsilon
    )
    return ViTSegmenter(ViT(variant, dtype, remat), classes, dtype=dtype)


def recipe_params(arrays, case, model):
    """The golden file's weights as this network's parameters."""
    empty, _ = shapes_of(model, (1, 22, 31, 3))
    salt, names = str(arrays[""]["salt"]), set(arrays[case]["param_names"].tolist())
    state_dict = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(empty):
        keys = [entry.key for entry in path]
        name = torch_name([key for key in keys if key != "backbone"])
        shape = (1, leaf.shape[-1]) if name == "mask_token" else torch_shape(keys[-1], leaf.shape)
        state_dict[name] = recipe(name, shape, salt)
    assert set(state_dict) == names
    return from_torch_vit(state_dict, empty, {})[0]


def token_mask(arrays, case):
    return jnp.asarray(arrays[case]["token_mask"]) if "token_mask" in arrays[case] else None


@pytest.mark.parametrize("case", CASES)
def test_tokens_logits_and_gradients_are_torchs(golden, case):
    """float32 against torch's float64: outputs 1e-5 of their largest value, gradients 1e-4. The
    last case computes its blocks again for the gradient.
    """
    arrays = golden("vit")
    model, found = segmenter(arrays, case, remat=case == "rotary"), arrays[case]
    params = recipe_params(arrays, case, model)
    images, cotangent = channels_last(found["image"]), channels_last(found["cotangent"])
    mode = Mode(train=True, token_mask=token_mask(arrays, case))

    @jax.jit
    def run(params):
        def loss_fn(params):
            output = model.apply({"params": params}, images, mode)
            upsampled = resize_bilinear(
                output.logits, images.shape[1:3], align_corners=model.align_corners
            )
            return (upsampled * cotangent).sum(), (output, upsampled)

        return jax.value_and_grad(loss_fn, has_aux=True)(params)

    (loss, (output, upsampled)), grads = run(params)
    assert relative_error(channels_first(output.last_stage), found["tokens"]) < 1e-5
    assert relative_error(channels_first(output.logits), found["logits"]) < 1e-5
    assert relative_error(channels_first(upsampled), found["upsampled"]) < 1e-5
    np.testing.assert_allclose(loss, found["loss"], rtol=1e-4)
    # what methods and spatial aggregation call on features of their own
    again = model.classify(params, output.features)
    np.testing.assert_allclose(again, output.logits, rtol=1e-5, atol=1e-5)
    assert output.features.shape[1:3] == tuple(4 * size for size in output.last_stage.shape[1:3])
    norms = dict(zip(found["param_names"].tolist(), found["gradnorm"].tolist(), strict=True))
    compared = 0
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        keys = [entry.key for entry in path]
        name = torch_name([key for key in keys if key != "backbone"])
        np.testing.assert_allclose(
            jnp.linalg.norm(grad.ravel()), norms[name], rtol=1e-4, atol=1e-6, err_msg=name
        )
        if f"grad_{name}" in found:
            expected = found[f"grad_{name}"]
            grad = np.asarray(grad)
            if keys[-1] == "kernel" and grad.ndim == 4:
                grad = grad.transpose(3, 2, 0, 1)
            assert relative_error(grad.reshape(expected.shape), expected) < 1e-4, name
            compared += 1
    assert compared >= 5


def test_a_masked_token_is_seen_by_no_other(golden):
    """What lies under a mask changes nothing, and where nothing is masked the mask token does
    not.
    """
    arrays = golden("vit")
    model = segmenter(arrays, "plain")
    params = recipe_params(arrays, "plain", model)
    images = channels_last(arrays["plain"]["image"])
    none = jnp.zeros((2, *model.token_grid(images.shape[1:3])), bool)
    rows = none.at[:, :2].set(True)
    hidden = images.at[:, :5].set(7.0)  # 22 rows for 6 tokens: within the first 2

    @jax.jit
    def logits(params, images, mask):
        return model.apply({"params": params}, images, Mode(token_mask=mask)).logits

    np.testing.assert_array_equal(logits(params, images, rows), logits(params, hidden, rows))
    assert (logits(params, images, none) != logits(params, hidden, none)).any()
    other = jax.tree.map(lambda x: x, params)
    other["backbone"]["mask_token"] = other["backbone"]["mask_token"] + 1.0
    np.testing.assert_array_equal(logits(params, images, none), logits(other, images, none))
    assert (logits(params, images, rows) != logits(other, images, rows)).any()


@pytest.mark.parametrize("remat", [False, True])
def test_blocks_are_computed_again_where_that_is_asked_for(golden, remat):
    arrays = golden("vit")
    model = segmenter(arrays, "rotary", remat=remat)
    params, _ = shapes_of(model, (1, 22, 31, 3))

    def logits(params):
        return model.apply({"params": params}, jnp.zeros((1, 22, 31, 3)), Mode()).logits

    found = re.search("checkpoint|remat", str(jax.make_jaxpr(logits)(params)))
    assert bool(found) == remat


def test_bfloat16_is_near_float32_and_gives_float32(golden):
    """8 bits of mantissa, and LayerNorms over as few as 6 channels: 2 % of the features' norm."""
    arrays = golden("vit")
    images = channels_last(arrays["plain"]["image"])
    params = recipe_params(arrays, "plain", segmenter(arrays, "plain"))

    @functools.partial(jax.jit, static_argnums=0)
    def run(model, params):
        output = model.apply({"params": params}, images, Mode())
        return output.features, output.logits, output.last_stage

    pairs = (
        run(segmenter(arrays, "plain", dtype=dtype), params) for dtype in ("bfloat16", "float32")
    )
    for found, expected in zip(*pairs, strict=True):
        assert found.dtype == jnp.float32
        assert 0 < jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected) < 0.02


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # dinov2_vitb14_pretrain.pth; DINOv3's 85,660,416 and a bias of keys that nothing reads
        ("dinov2_vitb14", 86_580_480),
        ("dinov3_vitb16", 85_669_632),
    ],
)
def test_the_encoders_have_the_published_sizes(name, parameters):
    model = ViT(VARIANTS[name])
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 112, 112, 3)))["params"]
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters


def test_1024_pixels_are_80_tokens_and_the_resize_is_before_the_patches():
    model = ViTSegmenter(ViT(VARIANTS["dinov2_vitb14"]), 19)
    assert model.token_grid((1024, 1024)) == (80, 80)
    assert model.token_grid((512, 1024)) == (40, 80)


def test_images_smaller_than_a_token_are_refused():
    settings = dict(backbone="dinov2_vits14", heads="single", dtype="float32", remat="none")
    model = build_segmenter(ConfigDict(settings), 3)
    with pytest.raises(UserError, match="images of 12x64: no room for a token of 14x14 pixels"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 12, 64, 3)), Mode()))
