"""Segmenters from torch files: names of each project, heads, the order of classes, and refusals.
(Golden networks load this way too.)
"""

import importlib.util
import subprocess
import sys

import jax
import numpy as np
import pytest
from recipe_weights import shapes_of

from dajax.models.deeplab import DeepLab
from dajax.models.resnet import ResNet
from dajax.models.seg_weights import PLCA_TRAIN_IDS, from_torch_segmenter
from dajax.models.torch_names import torch_name, torch_shape
from dajax.models.vgg import VGG, FCN8s
from dajax.models.weight_files import WeightsError, load_torch_file


def tiny(heads="single", num_classes=19, head_bias=True, num_domains=1):
    backbone = ResNet((1, 1), "bottleneck", (2, 3), num_domains=num_domains)
    return shapes_of(
        DeepLab(backbone, num_classes, heads=heads, head_bias=head_bias), (1, 32, 32, 3)
    )


def torch_file(trees, seed=0):
    """Random torch arrays under the names of AdaptSegNet's and CLAN's state dicts, for every entry
    of a network.
    """
    rng, state_dict = np.random.default_rng(seed), {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(trees):
        keys = [entry.key for entry in path[1:] if entry.key != "backbone"]
        shape = torch_shape(keys[-1], leaf.shape)
        state_dict[torch_name(keys)] = rng.standard_normal(shape).astype(np.float32)
    return state_dict | {"bn1.num_batches_tracked": np.array(7)}


def assert_loaded(params, name, array):
    """params[...] holds the torch kernel `array` under its torch name."""
    node = params
    for part in name:
        node = node[part]
    np.testing.assert_array_equal(node, array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)


@pytest.mark.parametrize("heads", ["single", "multi", "twin"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.", "net.segmenter."])
def test_released_checkpoints_fill_backbone_and_heads(heads, prefix):
    trees = tiny(heads, num_domains=2)
    file = torch_file(trees)
    params, stats, report = from_torch_segmenter(
        {prefix + name: array for name, array in file.items()}, *trees
    )
    assert (
        len(report.loaded) == len(jax.tree.leaves(trees))
        and not report.missing
        and not report.unexpected
    )
    assert report.ignored == ("bn1.num_batches_tracked",)
    assert_loaded(
        params, ("layer5", "conv2d_list_3", "kernel"), file["layer5.conv2d_list.3.weight"]
    )
    assert_loaded(params, ("layer5", "conv2d_list_2", "bias"), file["layer5.conv2d_list.2.bias"])
    assert_loaded(
        params,
        ("backbone", "layer2_0", "downsample_conv", "kernel"),
        file["layer2.0.downsample.0.weight"],
    )
    for domain in (0, 1):
        np.testing.assert_array_equal(
            stats["backbone"]["layer1_0"]["bn3"]["var"][domain], file["layer1.0.bn3.running_var"]
        )


@pytest.mark.parametrize("prefix", ["Scale.", "module.Scale.", ""])
def test_deeplabs_initial_weights_lose_their_prefix_and_cocos_head(prefix):
    trees = tiny("twin")
    coco = {
        f"{prefix}{name}": array
        for name, array in torch_file(tiny("single", num_classes=21)).items()
    }
    params, _, report = from_torch_segmenter(coco, *trees)
    assert (
        not params["layer5"]["conv2d_list_0"]["kernel"].any()
        and not params["layer6"]["conv2d_list_0"]["kernel"].any()
    )
    assert_loaded(params, ("backbone", "conv1", "kernel"), coco[f"{prefix}conv1.weight"])
    assert "layer5.conv2d_list.0.weight" in report.ignored and all(
        name.startswith("layer") for name in report.missing
    )
    assert not report.unexpected


def test_heads_are_skipped_when_told():
    trees = tiny()
    params, _, report = from_torch_segmenter(torch_file(trees), *trees, skip_heads=True)
    assert (
        not any(leaf.any() for leaf in jax.tree.leaves(params["layer5"]))
        and params["backbone"]["conv1"]["kernel"].any()
    )
    assert len(report.missing) == 8 and not [
        name for name in report.loaded if name.startswith("layer5")
    ]


def test_a_backbone_alone_leaves_the_heads():
    trees = tiny()
    file = {name: array for name, array in torch_file(trees).items() if "layer5" not in name} | {
        "fc.weight": np.zeros((10, 12), np.float32)
    }
    params, _, report = from_torch_segmenter(file, *trees)
    assert (
        params["backbone"]["conv1"]["kernel"].any()
        and not params["layer5"]["conv2d_list_0"]["kernel"].any()
    )
    assert len(report.missing) == 8 and "fc.weight" in report.ignored


@pytest.mark.parametrize("num_classes", [16, 19])
def test_plcas_classes_are_put_into_the_order_of_train_ids(num_classes):
    """Each class is marked with its train id; with SYNTHIA the sixteen are in the order of theirs,
    as everywhere in this project.
    """
    trees = tiny(num_classes=num_classes, head_bias=False)
    file = {}
    for name, array in torch_file(trees).items():
        file[
            (
                f"backbone.{name}"
                if "layer5" not in name
                else f"classifier.0.convs.{name.split('.')[2]}.0.weight"
            )
        ] = array
    for key in [key for key in file if key.startswith("classifier")]:
        file[key] = np.broadcast_to(
            np.array(PLCA_TRAIN_IDS[:num_classes], np.float32).reshape(-1, 1, 1, 1), file[key].shape
        )
    params, _, report = from_torch_segmenter(file, *trees)
    kept = [k for k in range(19) if num_classes == 19 or k not in (9, 14, 16)]
    for i in range(4):
        np.testing.assert_array_equal(params["layer5"][f"conv2d_list_{i}"]["kernel"][1, 1, 0], kept)
    assert not report.missing and not report.unexpected
    with pytest.raises(WeightsError, match="missing.*set config.model.head_bias=False"):
        from_torch_segmenter(file, *tiny(num_classes=num_classes))


def test_plcas_heads_are_found_behind_a_prefix_of_the_whole():
    """ "module.backbone." is what the backbone's names share, "module." what the head's share with
    them.
    """
    trees = tiny(head_bias=False)
    file = {}
    for name, array in torch_file(trees).items():
        file[
            (
                f"module.backbone.{name}"
                if "layer5" not in name
                else f"module.classifier.0.convs.{name.split('.')[2]}.0.weight"
            )
        ] = array
    _, _, report = from_torch_segmenter(file, *trees)
    assert report.prefix == "module.backbone." and not report.missing and not report.unexpected


def test_numbers_that_are_not_finite_are_refused_by_the_files_own_name():
    trees = tiny()
    file = {f"module.{name}": array for name, array in torch_file(trees).items()}
    file["module.layer5.conv2d_list.1.bias"][2] = np.nan
    with pytest.raises(
        WeightsError,
        match=r"NaN or infinity in 1 entries: module.layer5.conv2d_list.1.bias \(1 of 19 numbers\)",
    ):
        from_torch_segmenter(file, *trees)
    assert from_torch_segmenter(file, *trees, skip_heads=True)[2].loaded, (
        "heads that are not loaded may hold anything"
    )


def test_other_heads_and_other_backbones_are_refused():
    trees = tiny("single")
    with pytest.raises(
        WeightsError, match="have no place in this network .layer6.*config.model.heads"
    ):
        from_torch_segmenter(torch_file(tiny("twin")), *trees)
    with pytest.raises(
        WeightsError,
        match=(
            r"layer5.conv2d_list.0.bias is \(16,\) in the file, \(19,\) in the network\): only"
            r" heads differ"
        ),
    ):
        from_torch_segmenter(torch_file(tiny(num_classes=16)), *trees)
    _, _, report = from_torch_segmenter(torch_file(tiny(num_classes=16)), *trees, skip_heads=True)
    assert report.missing and all(name.startswith("layer5.") for name in report.missing)
    with pytest.raises(WeightsError, match="set config.model.head_bias=True"):
        from_torch_segmenter(torch_file(trees), *tiny(head_bias=False))
    partial = torch_file(trees)
    del partial["layer2.0.conv1.weight"]
    with pytest.raises(
        WeightsError,
        match=(
            r"1 entries are missing \(layer2.0.conv1.weight\): the rest fits, so the file is"
            r" incomplete"
        ),
    ):
        from_torch_segmenter(partial, *trees)
    params, _, report = from_torch_segmenter(partial, *trees, allow_partial=True)
    assert (
        report.missing == ("layer2.0.conv1.weight",) and params["backbone"]["conv1"]["kernel"].any()
    )
    with pytest.raises(WeightsError, match=r"names \(some.weight\) are none of this network's"):
        from_torch_segmenter({"some.weight": np.zeros(3, np.float32)}, *trees)


def torchvision_vgg16():
    """The names of torchvision's vgg16; one number a layer, broadcast, so that 138 million
    parameters take no memory.
    """
    shapes, channels = {}, 3
    indices = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    widths = (64, 64, 128, 128, *(256,) * 3, *(512,) * 6)
    for index, width in zip(indices, widths, strict=True):
        shapes |= {
            f"features.{index}.weight": (width, channels, 3, 3),
            f"features.{index}.bias": (width,),
        }
        channels = width
    for index, shape in ((0, (4096, 25088)), (3, (4096, 4096)), (6, (1000, 4096))):
        shapes |= {f"classifier.{index}.weight": shape, f"classifier.{index}.bias": shape[:1]}
    return {
        name: np.broadcast_to(np.float32(i + 1), shape)
        for i, (name, shape) in enumerate(shapes.items())
    }


def test_torchvisions_vgg16_skips_the_poolings_that_deeplab_takes_out():
    trees, file = shapes_of(DeepLab(VGG(), 19), (1, 32, 32, 3)), torchvision_vgg16()
    params, _, report = from_torch_segmenter(file, *trees)
    for here, there in ((21, 21), (23, 24), (25, 26), (27, 28)):
        assert (
            params["backbone"][f"features_{here}"]["kernel"]
            == file[f"features.{there}.weight"].flat[0]
        ).all()
    assert {name.rpartition(".")[0] for name in report.missing} == {
        "features.29",
        "features.31",
        *(f"layer5.conv2d_list.{i}" for i in range(4)),
    }
    del file["features.14.weight"]
    with pytest.raises(WeightsError, match=r"missing \(features.14.weight\)"):
        from_torch_segmenter(file, *trees)


def test_fcn8s_takes_vgg16s_fully_connected_layers_as_convolutions():
    trees, file = shapes_of(FCN8s(19), (1, 32, 32, 3)), torchvision_vgg16()
    row = np.arange(25088, dtype=np.float32)  # torch flattens [C, h, w]
    file["classifier.0.weight"] = np.broadcast_to(row, (4096, 25088))
    params, _, report = from_torch_segmenter(file, *trees)
    assert params["fc6"]["kernel"][2, 3, 5, 17] == 5 * 49 + 2 * 7 + 3
    assert (
        params["fc7"]["kernel"].shape == (1, 1, 4096, 4096)
        and params["fc7"]["bias"][0] == file["classifier.3.bias"].flat[0]
    )
    assert {name.split(".")[0] for name in report.missing} == {
        "score_fr",
        "score_pool3",
        "score_pool4",
    }


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs torch, which is optional"
)
def test_files_that_torch_itself_saved_are_read(tmp_path):
    """In a process of its own: once imported, torch would stay. Plain, and wrapped as PLCA's
    checkpoints are.
    """
    file = torch_file(tiny())
    np.savez(tmp_path / "file.npz", **file)
    program = """
import sys, numpy, torch
file = {name: torch.from_numpy(array) for name, array in numpy.load("file.npz").items()}
parameters = {name: x for name, x in file.items() if x.is_floating_point()}
parameters = {name: torch.nn.Parameter(x) for name, x in parameters.items()}
torch.save(file | parameters, "plain.pth")
torch.save({"weights": file}, "ckpt_final.weights")
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    expected = from_torch_segmenter(file, *tiny())[2]
    for name in ("plain.pth", "ckpt_final.weights"):
        assert from_torch_segmenter(load_torch_file(tmp_path / name), *tiny())[2] == expected
