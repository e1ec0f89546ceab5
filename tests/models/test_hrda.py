"""HRDA against the authors' (sota_hrda.npz), its crop, its windows and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close
from deeplab_settings import RESNET101, SMALL
from golden_arrays import channels_first, channels_last, ints
from mit_golden import (
    LOSS_TOLERANCE,
    TINY,
    TOLERANCE,
    assert_norms_close,
    load,
    mean_over_all,
    norms,
    segmenter,
)
from ml_collections import ConfigDict
from recipe_weights import shapes_of

from dajax.errors import UserError
from dajax.methods.segmentation import _segmenter as methods
from dajax.models import hrda
from dajax.models.build import build_segmenter
from dajax.models.norm import Mode
from dajax.ops.resize import resize_bilinear

STAGE = ConfigDict(dict(target_bn=0, norm="", norm_affine=""))


def make(num_classes=7, detail_hw=(64, 64), **settings):
    settings = TINY | dict(hrda=dict(detail_hw=detail_hw, detail_weight=0.1)) | settings
    return build_segmenter(ConfigDict(settings), STAGE, num_classes=num_classes)


def golden_model(arrays):
    model = make()
    return model, load(model, "hrda_tiny", str(arrays["salt"]), (128, 128))


@pytest.mark.parametrize("case", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_training_pass_is_the_authors(golden, monkeypatch, case):
    """Fused logits, those of the crop, both losses and the gradients; case 1 has weights."""
    arrays = golden("sota_hrda")[""]
    model, variables = golden_model(arrays)
    top, _, left, _ = arrays[f"train{case}_crop_y1y2x1x2"].tolist()
    offsets = iter((top, left))
    monkeypatch.setattr(hrda, "draw_offset", lambda *_: jnp.int32(next(offsets)))
    labels, weights = ints(arrays["label"]), jnp.asarray(arrays["weight"])
    if not arrays[f"train{case}_weighted"]:
        weights = jnp.ones_like(weights)

    def step(params):
        output, _ = model.apply(
            {**variables, "params": params},
            channels_last(arrays["image"]),
            Mode(train=True, rows=jnp.arange(2)),
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        seen = methods.at_size(output, labels.shape[1:], align_corners=False)
        return methods.with_detail(mean_over_all, seen, labels, weights), (output, seen)

    (loss, (output, seen)), grads = jax.jit(jax.value_and_grad(step, has_aux=True))(
        variables["params"]
    )
    parts = arrays[f"train{case}_loss_fused"], arrays[f"train{case}_loss_hr"]
    np.testing.assert_allclose(loss, sum(parts), rtol=LOSS_TOLERANCE)
    whole = mean_over_all(seen.logits, labels, weights)
    np.testing.assert_allclose(0.9 * whole, parts[0], rtol=LOSS_TOLERANCE)
    assert_close(channels_first(output.logits), arrays[f"train{case}_fused"], TOLERANCE)
    assert_close(channels_first(output.detail.logits), arrays[f"train{case}_hr"], TOLERANCE)
    last = channels_first(output.last_stage)
    assert last.shape == tuple(arrays[f"train{case}_feat_lr_last_shape"])
    corner = arrays[f"train{case}_feat_lr_last_corner"]
    box = tuple(slice(size) for size in corner.shape)
    assert_close(last[0][box], corner, TOLERANCE, unit=np.abs(last).max())
    found = norms(grads, arrays["param_names"].tolist(), "")
    assert_norms_close(found, arrays[f"train{case}_gradnorm"])


def test_predictions_are_the_authors(golden):
    """Whole images of the training size, and a picture of 128x208 in three windows."""
    arrays = golden("sota_hrda")[""]
    model, variables = golden_model(arrays)
    run = jax.jit(lambda images: model.apply(variables, images, Mode()).logits)

    def at_size(images):
        return resize_bilinear(run(images), images.shape[1:3], align_corners=False)

    logits = at_size(channels_last(arrays["image"]))
    expected = arrays["eval_logits_full_size_every4"]
    assert_close(channels_first(logits)[:, :, ::4, ::4], expected, TOLERANCE)
    assert (np.asarray(logits.argmax(-1)) != arrays["eval_argmax"]).mean() < 1e-3  # near ties

    picture = channels_last(arrays["slide_image"])
    lefts = hrda.window_starts(208, 128, 64)
    assert lefts == [0, 64, 80] and hrda.window_starts(128, 128, 64) == [0]
    windows = jnp.concatenate([picture[:, :, left : left + 128] for left in lefts])
    total, counts = np.zeros((1, 128, 208, 7)), np.zeros((1, 1, 208, 1))
    # two at a time, as the program is compiled for
    found = [at_size(windows[:2])[:1], at_size(windows[:2])[1:], at_size(windows[1:])[1:]]
    for left, logits in zip(lefts, found, strict=True):
        total[:, :, left : left + 128] += np.asarray(logits)
        counts[:, :, left : left + 128] += 1
    averaged = channels_first(total / counts)[:, :, ::4, ::4]
    assert_close(averaged, arrays["slide_logits_every4"], TOLERANCE)


def test_windows_of_the_detail_are_the_authors(golden):
    boxes = golden("sota_hrda")[""]["eval_slide_boxes_y1y2x1x2"]
    assert make()._windows((128, 128)) == [(top, left) for top, _, left, _ in boxes.tolist()]


@pytest.mark.parametrize("size, side", [(1024, 512), (128, 64)])
def test_offsets_are_the_authors_and_never_the_last(golden, size, side):
    expected = golden("sota_hrda")[""][f"offsets_{size}_{side}"]
    keys = jax.random.split(jax.random.key(0), 2000)
    draws = jax.vmap(lambda key: hrda.draw_offset(key, size - side, 8))(keys)
    np.testing.assert_array_equal(np.unique(draws), np.unique(expected))
    assert size - side not in draws


def test_the_crop_is_drawn_from_the_key_and_is_what_stands_there():
    """The crop's logits are the network's own of that piece of the image."""
    model = make(3, detail_hw=(32, 64))
    images = jax.random.normal(jax.random.key(1), (2, 64, 128, 3))
    variables = model.init(jax.random.key(0), images, Mode())

    @jax.jit
    def run(key):
        mode = Mode(train=True, rows=jnp.arange(2))
        rngs = {"dropout": key}
        return model.apply(variables, images, mode, mutable=["batch_stats"], rngs=rngs)[0]

    found = [run(jax.random.key(key)).detail for key in range(6)]
    places = {(4 * int(detail.top), 4 * int(detail.left)) for detail in found}
    assert len(places) > 2 and all(top <= 32 and left <= 64 for top, left in places)
    top, left = 4 * int(found[0].top), 4 * int(found[0].left)
    piece = images[:, top : top + 32, left : left + 64]

    def alone(module, images):
        """The encoder and the head, with the statistics of this batch."""
        mode = Mode(train=True, rows=jnp.arange(2), deterministic=True)
        return module.decode_head.head(module._stages(images, mode), mode).logits

    expected, _ = model.apply(variables, piece, method=alone, mutable=["batch_stats"])
    assert_close(found[0].logits, expected, 1e-4)


def test_a_teacher_predicts_whole_images_without_a_key():
    """With batch statistics, and the running ones thrown away by whoever asked."""
    model = make(3, detail_hw=(32, 64))
    images = jax.random.normal(jax.random.key(1), (2, 64, 128, 3))
    variables = model.init(jax.random.key(0), images, Mode())
    mode = Mode(train=True, mask=jnp.ones(2, bool), deterministic=True)
    output, _ = model.apply(variables, images, mode, mutable=["batch_stats"])
    assert output.detail is None and output.logits.shape == (2, 16, 32, 3)
    assert output.features.shape == (2, 16, 32, 16) and output.last_stage.shape == (2, 1, 2, 64)


@pytest.mark.parametrize(
    "settings, image_hw, said",
    [
        ({}, (68, 128), "images of 68x128: .* multiples of 8"),
        ({}, (32, 128), r"images of 32x128: smaller than config.model.hrda.detail_hw=\(64, 64\)"),
        ({"detail_hw": (60, 64)}, None, "two multiples of 8 pixels"),
        ({"detail_hw": (64,)}, None, "two multiples of 8 pixels"),
        ({"heads": "twin"}, None, "config.model.heads='twin': HRDA fuses one head"),
    ],
)
def test_what_the_grid_does_not_fit_is_refused(settings, image_hw, said):
    with pytest.raises(UserError, match=said):
        shapes_of(make(**settings), (1, *image_hw, 3))


def test_no_detail_is_the_segmenter_itself():
    assert make(detail_hw=()) == segmenter(7)


def test_deeplab_is_seen_in_detail_too():
    """The small network, whose logits come at a quarter of the size; its ASPP is the head."""
    hrda_settings = dict(hrda=dict(detail_hw=(32, 32), detail_weight=0.1))
    settings = ConfigDict(SMALL | dict(widths=(4, 4, 4, 4)) | hrda_settings)
    model = build_segmenter(settings, STAGE, num_classes=3)
    model = model.clone(backbone=model.backbone.clone(stage_sizes=(1, 1, 1, 1)))
    images = jax.random.normal(jax.random.key(1), (2, 32, 64, 3))
    variables = model.init(jax.random.key(0), images, Mode())
    assert set(variables["params"]["decode_head"]) == {"head", "scale_attention"}
    assert set(variables["params"]["decode_head"]["head"]) == {"layer5"}
    assert model.apply(variables, images, Mode()).logits.shape == (2, 8, 16, 3)
    mode = Mode(train=True, rows=jnp.arange(2))
    rngs = {"dropout": jax.random.key(0)}
    output, _ = model.apply(variables, images, mode, mutable=["batch_stats"], rngs=rngs)
    assert output.detail.logits.shape == (2, 8, 8, 3)


def test_a_network_whose_pooling_rounds_up_is_refused():
    """caffe's ResNet has a cell more than the grid on which both resolutions meet."""
    hrda_settings = dict(hrda=dict(detail_hw=(32, 32), detail_weight=0.1))
    model = build_segmenter(ConfigDict(RESNET101 | hrda_settings), STAGE, num_classes=3)
    model = model.clone(backbone=model.backbone.clone(stage_sizes=(1, 1, 1, 1)))
    with pytest.raises(UserError, match="5x5 logits of the context.* 4x4.*topology='torchvision'"):
        shapes_of(model, (1, 64, 64, 3))
