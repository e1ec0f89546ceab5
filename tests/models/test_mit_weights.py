"""Files of MiT: the authors' names, Hugging Face's in both spellings, DAFormer's checkpoints; and
what is refused.
"""

import functools
import json
import re

import jax
import numpy as np
import pytest
from compare import assert_trees_equal
from mit_golden import TINY, segmenter
from ml_collections import ConfigDict
from recipe_weights import GOLDEN, shapes_of

from dajax.models.build import build_segmenter
from dajax.models.seg_weights import from_torch_segmenter
from dajax.models.to_torch import to_torch
from dajax.models.weight_files import WeightsError

STAGE = ConfigDict(dict(target_bn=0, norm="", norm_affine=""))


@functools.cache
def zeros(num_classes=19, detail_hw=(), **settings):
    """(params, batch_stats) of a segmenter with other settings than TINY."""
    hrda = dict(detail_hw=detail_hw, detail_weight=0.1)
    settings = ConfigDict(TINY | dict(hrda=hrda) | settings)
    model = build_segmenter(settings, STAGE, num_classes=num_classes)
    return shapes_of(model, (1, 64, 64, 3))


def trees(seed=0, **settings):
    """Random numbers, like `zeros`."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), zeros(**settings)
    )


def empty(**settings):
    """A copy of `zeros`."""
    return jax.tree.map(np.copy, zeros(**settings))


def encoder_file(**settings):
    """(params, mit_*.pth of them): the encoder and ImageNet's classifier."""
    params, stats = trees(**settings)
    names = to_torch(params, stats, norm_set=0)
    encoder = {name: x for name, x in names.items() if not name.startswith("decode_head.")}
    return params, encoder | {
        "head.weight": np.zeros((1000, 64), np.float32),
        "head.bias": np.zeros(1000, np.float32),
    }


def hugging_face(file, spelling):
    """The same file under Hugging Face's names, "disk" or "memory" (transformers 5)."""
    listed = json.loads((GOLDEN / "sota_names_hf_mit_b0.json").read_text())
    found = {}
    for name, array in file.items():
        block = re.match(r"block(\d)\.(\d+)\.", name)
        if name.startswith("head."):
            names = [name.replace("head.", "classifier.")]
        elif block is None:
            names = listed[name]["hugging_face"]
        else:  # the list has blocks 0 and 1 of every stage
            first = name.replace(block[0], f"block{block[1]}.0.")
            here = f"block.{int(block[1]) - 1}."
            names = [
                theirs.replace(f"{here}0.", f"{here}{block[2]}.")
                for theirs in listed[first]["hugging_face"]
            ]
        for theirs, part in zip(names, np.split(array, len(names)), strict=True):
            found[theirs if spelling == "disk" else in_memory(theirs)] = part
    return found


def in_memory(name):
    """A name on disk as transformers 5 has it in memory."""
    for old, new in (
        ("attention.self.layer_norm.", "attention.sequence_reduction.layer_norm."),
        ("attention.self.sr.", "attention.sequence_reduction.sequence_reduction."),
        ("attention.self.query.", "attention.q_proj."),
        ("attention.self.key.", "attention.k_proj."),
        ("attention.self.value.", "attention.v_proj."),
        ("attention.output.dense.", "attention.o_proj."),
        ("layer_norm_1.", "layernorm_before."),
        ("layer_norm_2.", "layernorm_after."),
        ("mlp.dense1.", "mlp.fc1."),
        ("mlp.dense2.", "mlp.fc2."),
    ):
        name = name.replace(old, new)
    name = re.sub(r"encoder\.block\.(\d)\.", r"stages.\1.blocks.", name)
    return re.sub(r"encoder\.(patch_embeddings|layer_norm)\.(\d)\.", r"stages.\2.\1.", name)


def assert_encoder(loaded, params):
    assert_trees_equal(loaded["backbone"], params["backbone"])


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "model.backbone."])
def test_the_authors_file_fills_the_encoder_and_leaves_the_decoder(prefix):
    params, file = encoder_file()
    file = {prefix + name: array for name, array in file.items()}
    blank = empty()
    loaded, _, report = from_torch_segmenter(file, *blank)
    assert_encoder(loaded, params)
    assert_trees_equal(loaded["decode_head"], blank[0]["decode_head"])
    assert len(report.loaded) == 176 and report.ignored == ("head.bias", "head.weight")
    assert not report.unexpected and set(report.missing) == {
        name for name in to_torch(*blank, norm_set=0) if name.startswith("decode_head.")
    }


@pytest.mark.parametrize("spelling", ["disk", "memory"])
def test_hugging_faces_names_are_read_and_keys_and_values_joined(spelling):
    params, file = encoder_file()
    theirs = hugging_face(file, spelling)
    # of a finetuned SegFormer: another decoder
    theirs |= {"decode_head.linear_c.0.proj.weight": np.ones((4, 4), np.float32)}
    loaded, _, report = from_torch_segmenter(theirs, *empty())
    assert_encoder(loaded, params)
    assert len(report.loaded) == 176 and not report.unexpected
    assert set(report.ignored) >= {"classifier.bias", "decode_head.linear_c.0.proj.weight"}


@pytest.mark.parametrize("detail_hw", [(), (32, 32)])
def test_the_student_of_a_released_checkpoint_is_loaded_whole(detail_hw):
    """Beside it stand its teacher and the frozen encoder, of the same names."""
    own, teacher = trees(detail_hw=detail_hw), trees(seed=1, detail_hw=detail_hw)
    file = {}
    for prefix, tree in (("model.", own), ("ema_model.", teacher), ("imnet_model.", teacher)):
        for name, array in to_torch(*tree, norm_set=0).items():
            if name.startswith("decode_head."):
                file[prefix + name] = array
            else:
                file[f"{prefix}backbone.{name}"] = array
    file["model.decode_head.bn.num_batches_tracked"] = np.array(3)
    params, stats, report = from_torch_segmenter(file, *empty(detail_hw=detail_hw))
    assert_trees_equal((params, stats), own)
    assert not report.missing and not report.unexpected
    assert "ema_model.backbone.norm1.bias" in report.ignored


def mit_b5_file():
    shapes = json.loads((GOLDEN / "sota_names_part2.json").read_text())["mit_b5"]
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    "left_out, network, said",
    [
        (None, "mit_tiny", "the file is mit_b5, this network is mit_tiny"),
        (r"block2\.[45]\.|block3\.(1[89]|[23]\d)\.", "mit_b1", "the file is mit_b3, .* mit_b1"),
        pytest.param(
            r"block2\.[45]\.|block3\.(1[89]|[23]\d)\.",
            "mit_b5",
            "the file is mit_b3, this network is mit_b5: choose config.model.backbone",
            marks=pytest.mark.slow,
        ),
        (r"block1\.2\.", "mit_tiny", r"the file is a MiT of widths .* depths \[2, 6, 40, 3\]"),
    ],
)
def test_a_file_of_another_variant_is_refused_by_both_names(left_out, network, said):
    """b3's blocks are a part of b5's, whose names alone the network lacks."""
    file = {name: x for name, x in mit_b5_file().items() if not re.match(left_out or "$", name)}
    with pytest.raises(WeightsError, match=said):
        from_torch_segmenter(file, *empty(backbone=network))


def test_a_partial_encoder_is_refused():
    _, file = encoder_file()
    del file["block3.1.attn.kv.weight"]
    with pytest.raises(WeightsError, match="1 entries are missing .block3.1.attn.kv.weight"):
        from_torch_segmenter(file, *empty())


def test_a_file_of_a_residual_network_is_refused():
    file = {"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}
    with pytest.raises(WeightsError, match="names .conv1.weight. are none of this network's"):
        from_torch_segmenter(file, *empty())


def test_another_decoder_is_refused_unless_it_is_left_out():
    """SegFormer's in the file, DAFormer's here; and another number of classes."""
    file = to_torch(*trees(head="segformer"), norm_set=0)
    with pytest.raises(WeightsError, match="only the decoder differs: choose config.model.head"):
        from_torch_segmenter(file, *empty())
    blank = empty()
    loaded, _, report = from_torch_segmenter(file, *blank, skip_heads=True)
    assert_trees_equal(loaded["decode_head"], blank[0]["decode_head"])
    assert "decode_head.linear_pred.bias" in report.ignored
    with pytest.raises(WeightsError, match="only the decoder differs"):
        from_torch_segmenter(to_torch(*trees(num_classes=16), norm_set=0), *empty())


def test_what_is_exported_is_read_again():
    """Of every decoder, HRDA's included."""
    for settings in (
        dict(head="segformer"),
        dict(head="daformer_conv1", heads="twin"),
        dict(detail_hw=(32, 32)),
    ):
        own = trees(**settings)
        found = from_torch_segmenter(to_torch(*own, norm_set=0), *empty(**settings))
        assert_trees_equal(found[:2], own)


def test_a_network_of_segmenter_is_what_build_makes():
    """The tests' network is the one of the command line."""
    assert segmenter() == build_segmenter(ConfigDict(TINY), STAGE, num_classes=19)
