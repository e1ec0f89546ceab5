"""Whole iterations of the authors' own training loops (sota_trainstep_*.npz) through the train step
that runs use, with what they drew at random.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import part
from compare import assert_close, assert_value
from golden_arrays import channels_first, channels_last
from recipe_weights import recipe

from dajax.engine import teacher
from dajax.methods import interface
from dajax.methods.segmentation import _mixed_images as mixed_images
from dajax.methods.segmentation import _strong_view as strong_view
from dajax.methods.segmentation import cross_domain_mixing as mixing
from dajax.models import hrda
from dajax.models.apply import predict_scores
from dajax.models.build import build_segmenter
from dajax.models.to_torch import from_own, to_torch
from dajax.ops.block_mask import grid_size
from dajax.ops.labels import IGNORED
from dajax.ops.resize import resize_bilinear
from dajax.recipes import dacs, daformer, mic
from dajax.state import TEACHER

NAMES = pathlib.Path(__file__).resolve().parents[2] / "golden"
# tests/golden/README.md, float32: losses 1e-4 relative, gradients 1e-4 of the array's max, and
# parameters and logits 1e-3 of it.
LOSS, PARAMETER, LOGIT, GRADIENT = 1e-4, 1e-3, 1e-3, 1e-4
# There too: a float32 port may flip a pixel's pseudo-label, which moves a gradient by its share.
FLIPS, OF_A_FLIP = 2, 3e-4
NUM_CLASSES = 19  # of the lists of names, by which the weights are made


def state_dict(network, file, salt):
    """{torch name, without "backbone.": array}."""
    shapes = json.loads((NAMES / file).read_text())[network]
    return {
        name.removeprefix("backbone."): recipe(name, shape, salt) for name, shape in shapes.items()
    }


def begin(model, config, weights, *, shape):
    """The state at step 0 with these weights, as the engine makes it."""
    state = mixing.init(jax.random.key(0), jnp.zeros((2, *shape)), config=config, model=model)
    own = state.params[model.network], state.batch_stats[model.network]
    params, stats = jax.tree.map(jnp.asarray, from_own(weights, *own))
    state = state.replace(params={model.network: params}, batch_stats={model.network: stats})
    state = teacher.begin(state, config)
    return interface.at_start(mixing, state, config=config, model=model)


def with_teachers_statistics(state, model, weights):
    """The teacher's running statistics begin where the authors' do, not with the student's."""
    own = state.params[model.network], state.batch_stats[model.network]
    _, stats = jax.tree.map(jnp.asarray, from_own(weights, *own))
    begun = state.extra[TEACHER] | {"batch_stats": {model.network: stats}}
    return state.replace(extra={**state.extra, TEACHER: begun})


def strong(count, sigma, factors=None, order=None):
    """A Strong of `count` images: blurred where sigma is given, jittered where factors are."""
    return strong_view.Strong(
        jitters=jnp.array(factors is not None),
        blurs=jnp.array(sigma is not None),
        factors=jnp.ones((count, 4)) if factors is None else jnp.asarray(factors, jnp.float32),
        order=jnp.tile(jnp.arange(4, dtype=jnp.int32), (count, 1))
        if order is None
        else jnp.asarray(order, jnp.int32),
        sigma=jnp.ones(count) if sigma is None else jnp.asarray(sigma, jnp.float32),
    )


def recorded(case, i, config, size_hw, mixed, masked=None, noise=None):
    """Drawn of iteration i."""
    count = config.batch_size
    scores = np.zeros((count, NUM_CLASSES + 1), np.float32)
    for row in range(count):
        chosen = case[f"it{i}_mix_classes_{row}"]
        scores[row, np.where(chosen == IGNORED, NUM_CLASSES, chosen)] = 1.0
    if noise is None:
        noise = np.ones((count, *grid_size(size_hw, config.masked.block)), np.float32)
    return mixed_images.Drawn(
        jnp.asarray(scores),
        mixed,
        strong(count, None) if masked is None else masked,
        jnp.asarray(noise, jnp.float32),
        jax.random.key(0),
    )


@pytest.fixture
def compiled(monkeypatch):
    """f(model, config) -> the compiled train step of (state, batch, Drawn, corners of HRDA's
    crops), which also gives the gradients and what was mixed.
    """
    seen, finish, mixed_part = {}, mixing._step.finish, mixed_images.mixed_part

    def finishing(state, grads, *args, **kwargs):
        seen["grads"] = grads
        return finish(state, grads, *args, **kwargs)

    def mixed(source, target, labels, *args, **kwargs):
        found, weights = mixed_part(source, target, labels, *args, **kwargs)
        seen["mixed_label"], seen["mixed_weight"] = found["label"], weights
        seen["pseudo_label"] = labels
        return found, weights

    monkeypatch.setattr(mixing._step, "finish", finishing)
    monkeypatch.setattr(mixed_images, "mixed_part", mixed)
    monkeypatch.setattr(mixed_images, "draw", lambda drawn, *_, **__: drawn)
    corners = []
    monkeypatch.setattr(hrda, "draw_offset", lambda *_: corners.pop(0))

    def of(model, config):
        def step(state, batch, drawn, offsets=()):
            # y and x of HRDA's crop in each pass
            corners[:] = [offset for of_pass in offsets for offset in of_pass]
            after, metrics = mixing.train_step(state, batch, drawn, config=config, model=model)
            after = teacher.follow(state, after, config, mixing)
            return after, metrics | seen

        return jax.jit(step)

    return of


def arrays_by_name(params, stats, model):
    """{torch name, without "backbone.": array} of a network."""
    own = params[model.network], stats[model.network]
    return to_torch(*(jax.device_get(tree) for tree in own), norm_set=0)


def norms(arrays, names):
    return np.array([np.linalg.norm(arrays[name].astype(np.float64)) for name in names])


def assert_parameters(case, i, state, model, names, moved=0.0):
    """Norms and first entries of all parameters.

    Args:
      moved: how far Adam's steps so far can have taken an entry of the encoder; the head's go ten
        times as far. Of a gradient near 0 Adam takes the sign, so that a twentieth is allowed, and
        all of it for the bias of an attention's keys, which has no gradient but rounding.
    """
    arrays = arrays_by_name(state.params, state.batch_stats, model)
    found, expected = norms(arrays, names), case[f"it{i}_after_norm"]
    np.testing.assert_allclose(found, expected, rtol=PARAMETER, atol=1e-6, err_msg=f"iteration {i}")
    for name, first in zip(names, case[f"it{i}_after8"], strict=True):
        value = arrays[name].reshape(-1)[:8]
        unit, floor = np.abs(arrays[name]).max(), 0.05 * moved
        floor *= 10.0 if "head" in name else 20.0 if name.endswith("attn.kv.bias") else 1.0
        expected = first[: len(value)]
        assert_close(value, expected, PARAMETER, unit=unit, floor=floor, err_msg=f"{i} {name}")


def assert_teacher(case, i, state, model, names):
    found = state.extra[TEACHER]
    arrays = arrays_by_name(found["params"], found["batch_stats"], model)
    np.testing.assert_allclose(
        norms(arrays, names), case[f"it{i}_teacher_norm"], rtol=PARAMETER, atol=1e-6
    )


def assert_statistics(case, state, model):
    """Of student and teacher, after the last iteration."""
    of = {"student": (state.params, state.batch_stats)}
    of["teacher"] = tuple(state.extra[TEACHER][key] for key in ("params", "batch_stats"))
    for who, networks in of.items():
        arrays, prefix = arrays_by_name(*networks, model), f"final_{who}_"
        names = [key.removeprefix(prefix) for key in case if key.startswith(prefix)]
        assert names
        for name in names:
            own = name.removeprefix("backbone.")
            assert_close(arrays[own], case[prefix + name], PARAMETER, err_msg=f"{who} {name}")


def assert_gradients(case, i, grads, state, model, names, flipped):
    """Norms of all, and those that the file holds whole; `flipped`: pseudo-labels that differ."""
    assert flipped <= FLIPS
    tolerance = GRADIENT + OF_A_FLIP * float(flipped > 0)
    arrays = arrays_by_name(grads, state.batch_stats, model)
    # -1 where torch has no gradient at all
    found, expected = norms(arrays, names), np.maximum(case[f"it{i}_gradnorm"], 0.0)
    np.testing.assert_allclose(
        found, expected, rtol=10 * tolerance, atol=tolerance * expected.max()
    )
    prefix = f"it{i}_grad_"
    for key in (key for key in case if key.startswith(prefix)):
        name = key.removeprefix(prefix).removeprefix("backbone.")
        assert_close(arrays[name], case[key], tolerance, err_msg=f"{i} {name}")


@pytest.mark.slow  # as all of this file: 20 s to compile, and MiT's a minute or more
def test_three_iterations_of_dacs_are_the_authors(golden, compiled):
    """trainUDA.py on DeepLab-v2, blurred, without jitter; tensors are stepped as often as its list
    repeats them.
    """
    case = golden("sota_trainstep_dacs")[""]
    whole = dacs.get_config("gta5_to_cityscapes,weights=none")
    config = whole.dacs
    config.batch_size = count = case["source_label"].shape[1]
    config.steps, config.threshold = int(case["num_iters"]), float(case["threshold_in_this_file"])
    if not case["sgd_entries_repeated"]:
        config.optimizer.repeats = ()
    model = build_segmenter(whole.model, config, num_classes=NUM_CLASSES)
    model = model.clone(backbone=model.backbone.clone(stage_sizes=(1, 1, 1, 1)))
    weights = state_dict("dacs_deeplab_1111", "sota_names_part4.json", str(case["salt"]))
    shape = (*case["source_label"].shape[2:], 3)
    state, step = begin(model, config, weights, shape=shape), compiled(model, config)
    untouched = jax.tree.map(jnp.zeros_like, state.batch_stats[model.network])
    fresh = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + float(path[-1].key == "var"), untouched
    )
    begun = state.extra[TEACHER] | {"batch_stats": {model.network: fresh}}
    state = state.replace(extra={**state.extra, TEACHER: begun})
    names = [str(name) for name in case["param_names"]]
    sigmas = case["blur_sigmas_in_order"].reshape(-1, count)
    assert len(sigmas) == config.steps > 1
    for i, sigma in enumerate(sigmas):
        source, target = (channels_last(case[f"{d}_image"][i]) for d in ("source", "target"))
        batch = {"source": part(source, case["source_label"][i]), "target": part(target)}
        drawn = recorded(case, i, config, shape[:2], strong(count, sigma))
        state, found = step(state, batch, drawn)
        assert_value(found["segmentation"], case[f"it{i}_loss_labelled"], LOSS)
        assert_value(found["mixed"], case[f"it{i}_loss_mixed"], LOSS)
        flipped = (np.asarray(found["mixed_label"]) != case[f"it{i}_mixed_label"]).sum()
        weights_found, expected = found["mixed_weight"], case[f"it{i}_mixed_weight"]
        np.testing.assert_allclose(weights_found, expected, atol=FLIPS / expected.size)
        assert_value(found["learning_rate"], case[f"it{i}_lr"], 1e-6)
        assert_gradients(case, i, found["grads"], state, model, names, flipped)
        assert_parameters(case, i, state, model, names)
        assert_teacher(case, i, state, model, names)
    assert_statistics(case, state, model)


def of_daformer(case, recipe_module, argument):
    """(model, config) of a recipe with the file's tiny network and settings."""
    whole = recipe_module.get_config(f"gta5_to_cityscapes,weights=none{argument}")
    (stage,) = whole.stages
    config = whole[stage]
    config.batch_size = len(case["it0_source_label"])
    (channels,) = {
        case[key].shape[1] for key in case if key.startswith("it0_grad_") and "conv_seg" in key
    }
    whole.model.update(backbone="mit_tiny", head_channels=channels, dropout=0.0, drop_path=0.0)
    if whole.model.hrda.detail_hw:  # half of the crop
        whole.model.hrda.detail_hw = tuple(s // 2 for s in case["it0_source_label"].shape[1:])
    config.steps, config.optimizer.lr = int(case["max_iters"]), float(case["lr"])
    config.optimizer.warmup_steps = int(case["warmup_iters"])
    config.threshold = float(case["threshold"])
    config.ignore_top, config.ignore_bottom = case["top_bottom"].tolist()
    config.feature_distance.classes = tuple(case["thing_classes"].tolist())
    config.masked.block = int(case["block_size"])
    return build_segmenter(whole.model, config, num_classes=NUM_CLASSES), config


def drawn_of(case, i, config, size_hw):
    """Calls in the authors' order: the mixed images one by one, then the masked batch."""
    key, noise = f"it{i}_blur_sigmas_in_order", case.get(f"it{i}_mask_uniform")
    noise, count = None if noise is None else noise[:, 0], config.batch_size
    if key not in case:
        return recorded(case, i, config, size_hw, strong(count, None), noise=noise)
    sigmas = case[key]
    factors = np.stack([case[f"it{i}_jitter_{row}_factors"][:, 0] for row in range(count)])
    orders = np.stack([case[f"it{i}_jitter_{row}_order"] for row in range(count)])
    mixed = strong(count, sigmas[:count], factors, orders)
    if not config.masked.weight:
        return recorded(case, i, config, size_hw, mixed)
    masked = strong(
        count,
        np.full(count, sigmas[count]),
        case[f"it{i}_jitter_{count}_factors"].T,
        np.tile(case[f"it{i}_jitter_{count}_order"], (count, 1)),
    )
    return recorded(case, i, config, size_hw, mixed, masked, noise)


def loss_in(case, i, name):
    """HRDA's file has the detail's share beside that of the whole."""
    keys = [f"it{i}_log_{name}decode.loss_seg", f"it{i}_log_{name}decode.hr.loss_seg"]
    return sum(case[key] for key in keys if key in case)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, recipe_module, argument",
    [
        ("daformer", daformer, ""),
        ("daformer_aug", daformer, ""),
        ("mic", mic, ",host=daformer"),
        ("mic_hrda", mic, ""),
    ],
)
def test_iterations_of_daformer_and_mic_are_the_authors(
    golden, compiled, name, recipe_module, argument
):
    """DACS.train_step() of lhoyer/MIC with a tiny MiT: rows that do not count, feature distance,
    AdamW with its warm-up.
    """
    case = golden(f"sota_trainstep_{name}")[""]
    model, config = of_daformer(case, recipe_module, argument)
    salt, file = str(case["salt"]), "sota_names_part3.json"
    network = "trainstep_hrda" if model.detail_hw else "trainstep_daformer"
    weights = state_dict(network, file, salt)
    shape = (*case["it0_source_label"].shape[1:], 3)
    state = begin(model, config, state_dict(network, file, f"{salt}imagenet/"), shape=shape)
    frozen = state.extra[mixing.FROZEN]
    state = begin(model, config, weights, shape=shape)
    state = state.replace(extra={**state.extra, mixing.FROZEN: frozen})
    others = state_dict(network, file, f"{salt}other/")
    state, step = with_teachers_statistics(state, model, others), compiled(model, config)
    names = [str(name).removeprefix("backbone.") for name in case["param_names"]]
    count, moved = int(case["num_iters"]), 0.0
    assert count > 1
    for i in range(count):
        source, target = (channels_last(case[f"it{i}_{d}_image"]) for d in ("source", "target"))
        batch = {"source": part(source, case[f"it{i}_source_label"]), "target": part(target)}
        if "valid_pseudo_mask" in case:
            batch["target"]["trusted"] = case["valid_pseudo_mask"][:, 0].astype(bool)
        assert_teacher(case, i, state, model, names)  # as it is used in this iteration
        offsets = case.get(f"it{i}_hr_crop_offsets_yx_in_order_of_passes", np.zeros((3, 2)))
        drawn = drawn_of(case, i, config, shape[:2])
        state, found = step(state, batch, drawn, jnp.asarray(offsets, jnp.int32))
        assert_value(found["segmentation"], loss_in(case, i, ""), LOSS)
        distance = config.feature_distance.weight * found["feature_distance"]
        expected = case[f"it{i}_log_src.loss_imnet_feat_dist"]
        assert_value(distance, np.nan_to_num(expected), LOSS)
        assert_value(found["mixed"], loss_in(case, i, "mix."), LOSS)
        if config.masked.weight:
            assert_value(found["masked"], loss_in(case, i, "masked."), LOSS)
        pixels = case[f"it{i}_pseudo_label"].size
        np.testing.assert_allclose(
            found["pseudo_weight"], case[f"it{i}_pseudo_weight"], atol=FLIPS / pixels
        )
        assert_value(found["learning_rate"], case[f"it{i}_lr_backbone_head"][0], 1e-5)
        flipped = (np.asarray(found["pseudo_label"]) != case[f"it{i}_pseudo_label"]).sum()
        assert_gradients(case, i, found["grads"], state, model, names, flipped)
        moved += 2 * float(found["learning_rate"])
        assert_parameters(case, i, state, model, names, moved)
    assert_statistics(case, state, model)
    image = channels_last(case["it0_target_image"][:1])
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    logits = predict_scores(model, variables, image, norm_set=0)
    logits = resize_bilinear(logits, shape[:2], align_corners=model.align_corners)
    assert_close(channels_first(logits)[:, :, ::4, ::4], case["final_eval_every4"], LOGIT)
