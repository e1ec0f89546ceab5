"""HRDA against the authors' (sota_hrda.npz), its crop, its windows and what it refuses."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close
from deeplab_settings import RESNET101, SMALL
from golden_arrays import between, channels_first, channels_last, ints, names_in
from mit_golden import (
    LOSS_TOLERANCE,
    TINY,
    TOLERANCE,
    assert_norms_close,
    load,
    mean_over_all,
    norms,
    segmenter,
    variables_of,
)
from ml_collections import ConfigDict
from recipe_weights import shapes_of

from dajax.errors import UserError
from dajax.methods.segmentation import _segmenter as methods
from dajax.models import hrda
from dajax.models.aspp import SegOutput
from dajax.models.build import build_segmenter
from dajax.models.encoder_decoder import EncoderDecoder
from dajax.models.layers import Conv
from dajax.models.norm import DomainBatchNorm, Mode
from dajax.ops.resize import resize_bilinear
from dajax.ops.sliding_window import places

STAGE = ConfigDict(dict(target_bn=0, norm="", norm_affine=""))


def make(num_classes=7, detail_hw=(64, 64), **settings):
    settings = TINY | dict(hrda=dict(detail_hw=detail_hw, detail_weight=0.1)) | settings
    return build_segmenter(ConfigDict(settings), STAGE, num_classes=num_classes)


NAMES = names_in("sota_hrda")


def model_of(arrays):
    """With the file's classes, and its crops for detail."""
    y1, y2, x1, x2 = arrays["eval_slide_boxes_y1y2x1x2"][0].tolist()
    return make(arrays["eval_hr_logits"].shape[1], (y2 - y1, x2 - x1))


def golden_model(arrays):
    model = model_of(arrays)
    return model, load(model, "hrda_tiny", str(arrays["salt"]), arrays["image"].shape[2:])


@pytest.mark.slow
@pytest.mark.parametrize("case", between(NAMES, "train", "_weighted"))
def test_a_training_pass_is_the_authors(golden, monkeypatch, case):
    """Fused logits, those of the crop, both losses and the gradients; case 1 has weights."""
    arrays = golden("sota_hrda")[""]
    model, variables = golden_model(arrays)
    top, bottom, left, right = arrays[f"train{case}_crop_y1y2x1x2"].tolist()
    assert (bottom - top, right - left) == tuple(model.detail_hw)
    offsets = iter((top, left))
    monkeypatch.setattr(hrda, "draw_offset", lambda *_: jnp.int32(next(offsets)))
    labels, weights = ints(arrays["label"]), jnp.asarray(arrays["weight"])
    if not arrays[f"train{case}_weighted"]:
        weights = jnp.ones_like(weights)

    def step(params):
        output, _ = model.apply(
            {**variables, "params": params},
            channels_last(arrays["image"]),
            Mode(train=True, rows=jnp.arange(len(labels))),
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
    found = norms(grads, arrays["param_names"].tolist())
    assert_norms_close(found, arrays[f"train{case}_gradnorm"])


@pytest.mark.slow
def test_predictions_are_the_authors(golden):
    """Whole images of the training size, and a larger picture in windows of it that overlap by
    half.
    """
    arrays = golden("sota_hrda")[""]
    model, variables = golden_model(arrays)
    run = jax.jit(lambda images: model.apply(variables, images, Mode()).logits)

    def at_size(images):
        return resize_bilinear(run(images), images.shape[1:3], align_corners=False)

    logits = at_size(channels_last(arrays["image"]))
    expected = arrays["eval_logits_full_size_every4"]
    assert_close(channels_first(logits)[:, :, ::4, ::4], expected, TOLERANCE)
    assert (np.asarray(logits.argmax(-1)) != arrays["eval_argmax"]).mean() < 1e-3  # near ties

    (picture,) = channels_last(arrays["slide_image"])
    count, *window_hw = logits.shape[:3]
    tops, lefts = (
        places(size, side, side // 2)
        for size, side in zip(picture.shape[:2], window_hw, strict=True)
    )
    boxes = [np.s_[t : t + window_hw[0], x : x + window_hw[1]] for t in tops for x in lefts]
    assert len(boxes) > 1
    # as many at a time as the program is compiled for
    windows = jnp.stack([picture[box] for box in boxes] + [picture[boxes[0]]] * (count - 1))
    found = [at_size(windows[i : i + count])[0] for i in range(len(boxes))]
    total, counts = np.zeros((*picture.shape[:2], logits.shape[-1])), np.zeros(picture.shape[:2])
    for box, of_window in zip(boxes, found, strict=True):
        total[box] += np.asarray(of_window)
        counts[box] += 1
    averaged = (total / counts[..., None])[None]
    found = channels_first(averaged)[:, :, ::4, ::4]
    assert_close(found, arrays["slide_logits_every4"], TOLERANCE)
    expected = arrays["slide_rescaled_argmax"]
    resized = resize_bilinear(jnp.float32(averaged), expected.shape, align_corners=False)[0]
    assert (np.asarray(resized.argmax(-1)) != expected).mean() < 1e-3


def test_windows_of_the_detail_are_the_authors(golden):
    arrays = golden("sota_hrda")[""]
    expected = [(top, left) for top, _, left, _ in arrays["eval_slide_boxes_y1y2x1x2"].tolist()]
    assert model_of(arrays)._windows(arrays["image"].shape[2:]) == expected


@pytest.mark.parametrize("case", between(NAMES, "offsets_"))
def test_offsets_are_the_authors_and_never_the_last(golden, case):
    """`case`: sides of the image and of the crop."""
    expected, (size, side) = golden("sota_hrda")[""][f"offsets_{case}"], map(int, case.split("_"))
    keys = jax.random.split(jax.random.key(0), 2000)
    draws = jax.vmap(lambda key: hrda.draw_offset(key, size - side, 8))(keys)
    np.testing.assert_array_equal(np.unique(draws), np.unique(expected))
    assert size - side not in draws


class Cells(nn.Module):
    """An encoder of one stage: a linear layer on cells of 4x4 pixels."""

    stride: ClassVar[int] = 4

    @nn.compact
    def stage_outputs(self, images, mode):
        return {"cells": Conv(6, 4, stride=4, name="conv")(images)}

    def frozen_parameters(self):
        return ()


class Pointwise(nn.Module):
    """A head of batch normalisation and a linear layer."""

    num_classes: int = 3
    frozen: bool = True

    @nn.compact
    def __call__(self, stages, mode):
        y = DomainBatchNorm(frozen=self.frozen, name="bn")(stages[-1], mode)
        return SegOutput(y, Conv(self.num_classes, 1, use_bias=True, name="last")(y), None)

    def attention_head(self):
        return self.clone()

    def frozen_parameters(self):
        return ()


def toy(frozen=True):
    """(HRDA over Cells, its variables, images)."""
    model = EncoderDecoder(Cells(), Pointwise(frozen=frozen), 3)
    settings = ConfigDict(dict(detail_hw=(16, 24), detail_weight=0.1))
    model = hrda.with_detail(model, settings)
    images = jax.random.normal(jax.random.key(1), (2, 32, 48, 3))
    return model, variables_of(model, images.shape), images


def by_hand(variables, images):
    """(logits, attention) of the encoder, of head and scale attention, with running statistics."""
    params, stats = jax.tree.map(np.asarray, (variables["params"], variables["batch_stats"]))
    n, h, w, _ = images.shape
    cells = images.reshape(n, h // 4, 4, w // 4, 4, 3).swapaxes(2, 3).reshape(n, h // 4, w // 4, -1)
    x = np.asarray(cells, np.float64) @ params["backbone"]["conv"]["kernel"].reshape(48, 6)
    found = []
    for name in ("head", "scale_attention"):
        own, moments = params["decode_head"][name], stats["decode_head"][name]["bn"]
        y = (x - moments["mean"][0]) / np.sqrt(moments["var"][0] + 1e-5)
        y = y * own["bn"]["scale"][0] + own["bn"]["bias"][0]
        found.append(y @ own["last"]["kernel"][0, 0] + own["last"]["bias"])
    return found[0], 1 / (1 + np.exp(-found[1]))


def up(x, hw):
    return np.asarray(resize_bilinear(jnp.asarray(x, jnp.float32), hw, align_corners=False))


def half(images):
    return np.asarray(images).reshape(2, 16, 2, 24, 2, 3).mean((2, 4))


def test_both_resolutions_are_fused_by_hand():
    """Windows of 16x24 at steps of 8x12 over 32x48, averaged; the context is the 2x2 mean."""
    model, variables, images = toy()
    found = jax.jit(lambda: model.apply(variables, images, Mode()))()
    context, attention = by_hand(variables, half(images))
    detail, counts = np.zeros((2, 8, 12, 3)), np.zeros((8, 12, 1))
    for top in (0, 8, 16):
        for left in (0, 12, 24):
            box = np.s_[top // 4 : (top + 16) // 4, left // 4 : (left + 24) // 4]
            piece = images[:, top : top + 16, left : left + 24]
            detail[:, *box] += by_hand(variables, piece)[0]
            counts[box] += 1
    expected = up(attention, (8, 12)) * detail / counts + up((1 - attention) * context, (8, 12))
    np.testing.assert_allclose(found.logits, expected, atol=1e-4)
    assert found.detail is None and found.features.shape == (2, 8, 12, 6)
    assert found.last_stage.shape == (2, 4, 6, 6), "the context's"


def test_a_training_pass_sees_one_crop_that_its_key_draws():
    """Outside of the crop attention is 0 and the context alone counts."""
    model, variables, images = toy()

    @jax.jit
    def run(key):
        mode, rngs = Mode(train=True, rows=jnp.arange(2)), {"dropout": key}
        return model.apply(variables, images, mode, mutable=["batch_stats"], rngs=rngs)[0]

    found = [run(jax.random.key(key)) for key in range(8)]
    places = {(int(output.detail.top), int(output.detail.left)) for output in found}
    assert len(places) > 2 and places <= {(top, left) for top in (0, 2) for left in (0, 2, 4)}
    context, attention = by_hand(variables, half(images))
    for output in found[:3]:
        top, left = int(output.detail.top), int(output.detail.left)
        piece = images[:, 4 * top : 4 * top + 16, 4 * left : 4 * left + 24]
        detail, _ = by_hand(variables, piece)
        np.testing.assert_allclose(output.detail.logits, detail, atol=1e-4)
        mask, pasted = np.zeros((4, 6, 1)), np.zeros((2, 8, 12, 3))
        mask[top // 2 : top // 2 + 2, left // 2 : left // 2 + 3] = 1
        pasted[:, top : top + 4, left : left + 6] = detail
        inside = attention * mask
        expected = up(inside, (8, 12)) * pasted + up((1 - inside) * context, (8, 12))
        np.testing.assert_allclose(output.logits, expected, atol=1e-4)


def test_a_teacher_predicts_whole_images_without_a_key():
    """In training mode; running statistics normalise here, so it is what inference predicts."""
    model, variables, images = toy()
    mode = Mode(train=True, mask=jnp.ones(2, bool), rows=jnp.arange(2), deterministic=True)
    output, _ = jax.jit(lambda: model.apply(variables, images, mode, mutable=["batch_stats"]))()
    expected = jax.jit(lambda: model.apply(variables, images, Mode()))()
    np.testing.assert_allclose(output.logits, expected.logits, atol=1e-5)
    assert output.detail is None


def test_statistics_of_the_head_move_twice_a_pass_and_those_of_the_attention_once():
    model, variables, images = toy(frozen=False)
    mode, rngs = Mode(train=True, rows=jnp.arange(2)), {"dropout": jax.random.key(0)}
    _, updated = jax.jit(
        lambda: model.apply(variables, images, mode, mutable=["batch_stats"], rngs=rngs)
    )()
    before = variables["batch_stats"]["decode_head"]
    after = updated["batch_stats"]["decode_head"]
    context = np.asarray(images.reshape(2, 16, 2, 24, 2, 3).mean((2, 4)))
    cells = context.reshape(2, 4, 4, 6, 4, 3).swapaxes(2, 3).reshape(-1, 48)
    mean = (cells @ variables["params"]["backbone"]["conv"]["kernel"].reshape(48, 6)).mean(0)
    once = {name: before[name]["bn"]["mean"][0] * 0.9 + 0.1 * mean for name in before}
    attention = after["scale_attention"]["bn"]["mean"][0]
    np.testing.assert_allclose(attention, once["scale_attention"], atol=1e-5)
    assert np.abs(after["head"]["bn"]["mean"][0] - once["head"]).max() > 1e-4


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
    model = build_segmenter(ConfigDict(SMALL | hrda_settings), STAGE, num_classes=3)
    params, stats = shapes_of(model, (1, 32, 64, 3))
    assert set(params["decode_head"]) == {"head", "scale_attention"}
    assert set(params["decode_head"]["head"]) == {"layer5"}

    def train(params, stats):
        mode, rngs = Mode(train=True, rows=jnp.arange(2)), {"dropout": jax.random.key(0)}
        images = jnp.zeros((2, 32, 64, 3))
        variables = {"params": params, "batch_stats": stats}
        return model.apply(variables, images, mode, mutable=["batch_stats"], rngs=rngs)[0]

    output = jax.eval_shape(train, params, stats)
    assert output.logits.shape == (2, 8, 16, 3) and output.detail.logits.shape == (2, 8, 8, 3)


def test_a_network_whose_pooling_rounds_up_is_refused():
    """caffe's ResNet has a cell more than the grid on which both resolutions meet."""
    hrda_settings = dict(hrda=dict(detail_hw=(32, 32), detail_weight=0.1))
    model = build_segmenter(ConfigDict(RESNET101 | hrda_settings), STAGE, num_classes=3)
    model = model.clone(backbone=model.backbone.clone(stage_sizes=(1, 1, 1, 1)))
    with pytest.raises(UserError, match="5x5 logits of the context.* 4x4.*topology='torchvision'"):
        shapes_of(model, (1, 64, 64, 3))
