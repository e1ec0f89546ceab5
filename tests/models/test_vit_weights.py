"""Files of DINOv2, DINOv3 and VFM-UDA under the names that users have them by."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from recipe_weights import shapes_of

from dajax.errors import UserError
from dajax.models.build import build_segmenter, load_segmenter_weights
from dajax.models.to_torch import from_own, to_torch
from dajax.models.torch_names import torch_name, torch_shape
from dajax.models.vit import VARIANTS, Variant, ViT
from dajax.models.vit_segmenter import ViTSegmenter
from dajax.models.vit_weights import HEAD, from_torch_vit
from dajax.models.weight_files import WeightsError
from dajax.recipes import vfm
from dajax.state import TrainState

TINY = dict(
    dinov2=Variant(12, 2, 3, patch=2, grid=3),
    registers=Variant(12, 2, 3, patch=2, grid=3, registers=4),
    dinov3=Variant(12, 2, 3, patch=2, grid=0, registers=4),
)


def empty(variant):
    """(params of zeros, the segmenter)."""
    model = ViTSegmenter(ViT(variant), 3)
    return shapes_of(model, (1, 8, 8, 3))[0], model


def original(variant, *, with_head=False):
    """{the authors' name: array} of an encoder, DINOv2's spelling."""
    rng, found = np.random.default_rng(0), {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(empty(variant)[0]):
        keys = [entry.key for entry in path]
        name = torch_name([key for key in keys if key != "backbone"])
        if HEAD.match(name) and not with_head:
            continue
        shape = (1, leaf.shape[-1]) if name == "mask_token" else torch_shape(keys[-1], leaf.shape)
        found[name] = rng.standard_normal(shape).astype(np.float32)
        if not variant.grid and name.endswith("qkv.bias"):
            found[name][leaf.shape[0] // 3 : 2 * leaf.shape[0] // 3] = 0.0  # no bias of keys
    return found


def renamed(arrays, *pairs):
    """With the first pattern of a name replaced."""
    found = {}
    for name, array in arrays.items():
        for pattern, replacement in pairs:
            new, count = re.subn(pattern, replacement, name)
            if count:
                name = new
        found[name] = array
    return found


def in_parts(arrays, names, *, key_bias=True):
    """attn.qkv in three, under these names."""
    found = {}
    for name, array in arrays.items():
        if ".attn.qkv." not in name:
            found[name] = array
            continue
        for part, third in zip(names, np.split(array, 3), strict=True):
            if key_bias or not (part == names[1] and name.endswith("bias")):
                found[name.replace("attn.qkv", f"attn.{part}")] = third
    return found


HUGGING_FACE = (
    (r"^(cls_token|mask_token|register_tokens)", r"embeddings.\1"),
    (r"^pos_embed", "embeddings.position_embeddings"),
    (r"^norm\.", "layernorm."),
    (r"ls(\d)\.gamma", r"layer_scale\1.lambda1"),
)
DINOV2_ON_DISK = (
    *HUGGING_FACE,
    (r"^patch_embed\.proj", "embeddings.patch_embeddings.projection"),
    (r"^blocks\.", "encoder.layer."),
    (r"attn\.(query|key|value)", r"attention.attention.\1"),
    (r"attn\.proj", "attention.output.dense"),
)
DINOV2_IN_MEMORY = (
    *HUGGING_FACE,
    (r"^patch_embed\.proj", "embeddings.patch_embeddings.projection"),
    (r"^blocks\.", "encoder.layer."),
    (r"attn\.([qkv])\.", r"attention.\1_proj."),
    (r"attn\.proj", "attention.o_proj"),
)
DINOV3 = (
    (r"^(cls_token|mask_token|register_tokens)", r"embeddings.\1"),
    (r"ls(\d)\.gamma", r"layer_scale\1.lambda1"),
    (r"^patch_embed\.proj", "embeddings.patch_embeddings"),
    (r"^blocks\.", "layer."),
    (r"attn\.([qkv])\.", r"attention.\1_proj."),
    (r"attn\.proj", "attention.o_proj"),
    (r"mlp\.fc1", "mlp.up_proj"),
    (r"mlp\.fc2", "mlp.down_proj"),
)
WORDS, LETTERS = ("query", "key", "value"), ("q", "k", "v")


def hugging_face(arrays, pairs, parts, *, prefix="", key_bias=True):
    found = renamed(in_parts(arrays, parts, key_bias=key_bias), *pairs)
    return {f"{prefix}{name}": array for name, array in found.items()}


def timms_dinov2(arrays):
    """timm has no mask token; with registers the class token has its position in it already."""
    found = {name: array for name, array in arrays.items() if name != "mask_token"}
    if "register_tokens" in found:
        found["reg_token"] = found.pop("register_tokens")
        table = found["pos_embed"]
        found["cls_token"] = found["cls_token"] + table[:, :1]
        found["pos_embed"] = table[:, 1:]
    return found | {"head.weight": np.zeros((2, 2)), "fc_norm.bias": np.zeros(2)}


def dinov3s_own(arrays):
    """Keys have a bias of any numbers and a mask that switches it off."""
    found = renamed(arrays, (r"register_tokens", "storage_tokens"))
    for name in [name for name in found if name.endswith("qkv.bias")]:
        width = len(found[name]) // 3
        mask = np.ones(3 * width, np.float32)
        mask[width : 2 * width] = 0.0
        found[f"{name}_mask"] = mask
        found[name] = np.where(mask == 0, 5.0, found[name])
    return found | {"rope_embed.periods": np.zeros(1), "local_cls_norm.weight": np.zeros(12)}


def timms_dinov3(arrays):
    """No bias in the first dense layer of attention, whose values are 0 then, and no mask token."""
    found = renamed(arrays, (r"^register_tokens", "reg_token"), (r"ls(\d)\.gamma", r"gamma_\1"))
    return {
        name: array
        for name, array in found.items()
        if name != "mask_token" and not name.endswith("qkv.bias")
    }


def vfm_udas(arrays):
    """A checkpoint of Lightning: student and teacher."""
    found = {}
    for name, array in arrays.items():
        is_head = name.startswith("head.")
        own = name.removeprefix("head.") if is_head else f"encoder.{name}"
        found[f"network.{own}"], found[f"network_ema.{own}"] = array, array + 1.0
    return found


SPELLINGS = {
    "the authors' DINOv2": ("dinov2", lambda arrays: arrays),
    "the authors' DINOv2 in a larger model": (
        "dinov2",
        lambda arrays: {f"module.backbone.{name}": array for name, array in arrays.items()},
    ),
    "timm's DINOv2": ("dinov2", timms_dinov2),
    "timm's DINOv2 with registers": ("registers", timms_dinov2),
    "Hugging Face's file": ("dinov2", lambda a: hugging_face(a, DINOV2_ON_DISK, WORDS)),
    "Hugging Face's file of a segmenter": (
        "registers",
        lambda a: (
            hugging_face(a, DINOV2_ON_DISK, WORDS, prefix="dinov2.")
            | {"classifier.weight": np.zeros((2, 2))}
        ),
    ),
    "transformers 5": ("dinov2", lambda a: hugging_face(a, DINOV2_IN_MEMORY, LETTERS)),
    "the authors' DINOv3": ("dinov3", dinov3s_own),
    "timm's DINOv3": ("dinov3", timms_dinov3),
    "Hugging Face's DINOv3": (
        "dinov3",
        lambda a: hugging_face(a, DINOV3, LETTERS, key_bias=False),
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_gives_the_same_encoder(spelling):
    name, spell = SPELLINGS[spelling]
    variant = TINY[name]
    arrays, (zeros, _) = original(variant), empty(variant)
    file = spell(arrays)
    if spelling == "timm's DINOv3":
        arrays = {n: 0.0 * a if n.endswith("qkv.bias") else a for n, a in arrays.items()}
    expected, _, _ = from_torch_vit(arrays, zeros, {})
    found, statistics, report = from_torch_vit(file, zeros, {})
    assert statistics == {} and not report.unexpected, report.unexpected
    lacks = {"mask_token"} if "timm" in spelling else set()
    assert {missing for missing in report.missing if not HEAD.match(missing)} == lacks
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected):
        keys = [entry.key for entry in path]
        if keys[-1] in lacks:
            continue
        own = found
        for key in keys:
            own = own[key]
        if "timm" in spelling and variant.registers and keys[-1] in ("cls_token", "pos_embed"):
            continue  # the sum of the two is what counts
        np.testing.assert_array_equal(own, leaf, err_msg="/".join(keys))
    if "backbone" in found and "pos_embed" in found["backbone"]:
        for tree in (found, expected):
            tree["sum"] = tree["backbone"]["cls_token"] + tree["backbone"]["pos_embed"][:, :1]
        np.testing.assert_allclose(found["sum"], expected["sum"], rtol=1e-6)
        np.testing.assert_array_equal(
            found["backbone"]["pos_embed"][:, 1:], expected["backbone"]["pos_embed"][:, 1:]
        )


def test_a_segmenter_of_vfm_uda_is_its_student():
    arrays = original(TINY["dinov2"], with_head=True)
    zeros, _ = empty(TINY["dinov2"])
    found, _, report = from_torch_vit(vfm_udas(arrays), zeros, {})
    expected, _, _ = from_torch_vit(arrays, zeros, {})
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert not report.missing and not report.unexpected
    assert len(report.ignored) == len(arrays)  # the teacher
    # torch's ConvTranspose2d has [in, out, 2, 2]
    kernel = arrays["head.upscale.0.weight"]
    np.testing.assert_array_equal(
        found["head"]["upscale_0"]["kernel"][1, 0, 3, 5], kernel[5, 3, 1, 0]
    )
    fresh, _, report = from_torch_vit(vfm_udas(arrays), zeros, {}, skip_heads=True)
    assert not np.asarray(fresh["head"]["out"]["kernel"]).any()
    assert all(HEAD.match(name) for name in report.missing)


def test_what_is_exported_as_torch_comes_back():
    zeros, _ = empty(TINY["dinov3"])
    params, _, _ = from_torch_vit(original(TINY["dinov3"], with_head=True), zeros, {})
    exported = to_torch(params, {}, norm_set=0)
    again, _, report = from_torch_vit(exported, zeros, {})
    assert not report.missing and not report.unexpected and not report.ignored
    jax.tree.map(np.testing.assert_array_equal, again, params)
    jax.tree.map(np.testing.assert_array_equal, from_own(exported, params, {})[0], params)


def file_of(variant, **changes):
    return original(variant._replace(**changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(depth=1), "14 entries are missing .*a ViT of width 12, 1 blocks, patches of 2"),
        (dict(depth=3), "14 of the file have no place .* 3 blocks"),
        (dict(width=24), "have another shape .*a ViT of width 24"),
        (dict(registers=4), "register_tokens.*a ViT of width 12, 2 blocks, .* 4 registers"),
        (dict(patch=4), "patch_embed.proj.weight is .12, 3, 4, 4. in the file, .12, 3, 2, 2. in"),
        (dict(grid=4), "pos_embed is .1, 17, 12. in the file, .1, 10, 12. in the network"),
    ],
)
def test_another_variants_file_is_refused(change, message):
    zeros, _ = empty(TINY["dinov2"])
    with pytest.raises(WeightsError, match=message):
        from_torch_vit(file_of(TINY["dinov2"], **change), zeros, {})


def test_a_published_variant_is_called_by_its_name():
    """Shapes alone: numpy's zeros take no memory until they are read."""
    variant = VARIANTS["dinov2_vits14"]
    model = ViT(variant)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 3)))["params"]
    )
    file = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        keys = [entry.key for entry in path]
        file[torch_name(keys)] = np.zeros(torch_shape(keys[-1], leaf.shape), np.float32)
    zeros, _ = empty(TINY["dinov2"])
    with pytest.raises(
        WeightsError, match="file is dinov2_vits14, this network has a ViT of width 12, 2"
    ):
        from_torch_vit(file, zeros, {})


def test_a_part_of_an_encoder_is_refused():
    zeros, _ = empty(TINY["dinov2"])
    arrays = hugging_face(original(TINY["dinov2"]), DINOV2_ON_DISK, WORDS)
    del arrays["encoder.layer.1.attention.attention.key.weight"]
    with pytest.raises(WeightsError, match=r"1 entries are missing \(blocks.1.attn.qkv.weight\)"):
        from_torch_vit(arrays, zeros, {})
    found, _, report = from_torch_vit(arrays, zeros, {}, allow_partial=True)
    assert "blocks.1.attn.qkv.weight" in report.missing
    assert not np.asarray(found["backbone"]["blocks_1"]["attn"]["qkv"]["kernel"]).any()


def test_a_file_of_a_residual_network_is_refused():
    zeros, _ = empty(TINY["dinov2"])
    with pytest.raises(WeightsError, match="the file's names .* are none of this network's"):
        from_torch_vit({"layer1.0.conv1.weight": np.zeros((4, 4, 3, 3))}, zeros, {})


def test_a_file_of_hugging_face_is_what_a_run_begins_with(tmp_path, capsys):
    """From disk, as config.model.weights; one of another variant is refused by both names."""
    config = vfm.get_config("scenes")
    model = build_segmenter(config.model, config.vfm, num_classes=3)
    params, _ = shapes_of(model, (1, 64, 128, 3))
    state = TrainState.create(
        params={"segmenter": params}, batch_stats={"segmenter": {}}, opt_state=()
    )
    variant = VARIANTS["vit_tiny"]
    for name, own in (("right", variant), ("wrong", variant._replace(depth=2))):
        arrays = hugging_face(original(own), DINOV2_ON_DISK, WORDS)
        safetensors.numpy.save_file(arrays, tmp_path / f"{name}.safetensors")
    config.model.weights = str(tmp_path / "right.safetensors")
    loaded = load_segmenter_weights(config.model, state).params["segmenter"]
    expected, _, _ = from_torch_vit(original(variant), params, {})
    jax.tree.map(np.testing.assert_array_equal, loaded, expected)
    assert "49 entries loaded" in capsys.readouterr().out
    config.model.weights = str(tmp_path / "wrong.safetensors")
    with pytest.raises(
        UserError, match="wrong.safetensors: 14 entries .* this network has vit_tiny"
    ):
        load_segmenter_weights(config.model, state)
