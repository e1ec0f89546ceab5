"""Pretrained weights: names, layouts, refusals, and the report."""

import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from dajax.models.norm import Mode
from dajax.models.resnet import ResNet
from dajax.models.torch_names import torch_name, torch_shape
from dajax.models.weight_files import WeightsError, load_torch_file
from dajax.models.weights import from_torch_resnet


def small_resnet(stage_sizes=(1, 1), widths=(4, 6)):
    """(params, batch_stats) of a bottleneck network with two domains; all zeros, which no file of
    these tests holds.
    """
    model = ResNet(stage_sizes, "bottleneck", widths, num_domains=2)
    variables = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), Mode())
    )
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    return variables["params"], variables["batch_stats"]


def torch_state_dict(params, stats, seed=0):
    """Random torch arrays for every entry of the network, and what torchvision's files hold
    besides.
    """
    rng, state_dict = np.random.default_rng(seed), {}
    for path, leaf in jax.tree_util.tree_leaves_with_path((params, stats)):
        array = rng.standard_normal(torch_shape(path[-1].key, leaf.shape)).astype(np.float32)
        state_dict[torch_name([entry.key for entry in path[1:]])] = array
    state_dict["bn1.num_batches_tracked"] = np.array(7)
    return state_dict | {
        "fc.weight": np.zeros((10, 24), np.float32),
        "fc.bias": np.zeros(10, np.float32),
    }


@pytest.fixture(scope="module")
def trees():
    return small_resnet()


@pytest.fixture
def state_dict(trees):
    return torch_state_dict(*trees)


def test_names_are_torchvisions():
    assert torch_name(("conv1", "kernel")) == "conv1.weight"
    assert torch_name(("layer3_22", "bn2", "var")) == "layer3.22.bn2.running_var"
    assert torch_name(("layer1_0", "downsample_conv", "kernel")) == "layer1.0.downsample.0.weight"
    assert torch_name(("layer1_0", "downsample_bn", "mean")) == "layer1.0.downsample.1.running_mean"


def test_every_entry_lands_in_its_place_and_in_every_domain(trees, state_dict):
    params, stats, report = from_torch_resnet(state_dict, *trees)
    kernel = state_dict["layer2.0.conv2.weight"]
    np.testing.assert_array_equal(
        params["layer2_0"]["conv2"]["kernel"][1, 2, 3, 4], kernel[4, 3, 1, 2]
    )
    for domain in (0, 1):
        np.testing.assert_array_equal(
            params["layer1_0"]["downsample_bn"]["scale"][domain],
            state_dict["layer1.0.downsample.1.weight"],
        )
        np.testing.assert_array_equal(params["bn1"]["bias"][domain], state_dict["bn1.bias"])
        np.testing.assert_array_equal(
            stats["layer2_0"]["bn3"]["mean"][domain], state_dict["layer2.0.bn3.running_mean"]
        )
        np.testing.assert_array_equal(
            stats["layer2_0"]["bn3"]["var"][domain], state_dict["layer2.0.bn3.running_var"]
        )
    assert jax.tree.map(jnp.shape, (params, stats)) == jax.tree.map(jnp.shape, trees)
    assert (
        len(report.loaded) == len(jax.tree.leaves(trees))
        and not report.missing
        and not report.unexpected
    )
    assert report.ignored == ("bn1.num_batches_tracked", "fc.bias", "fc.weight")


def test_checksum_is_that_of_the_files_arrays(trees, state_dict):
    _, _, report = from_torch_resnet(state_dict, *trees)
    assert report.checksum == zlib.crc32(
        b"".join(state_dict[name].tobytes() for name in report.loaded)
    )
    state_dict["layer1.0.bn1.bias"][0] += 1
    assert from_torch_resnet(state_dict, *trees)[2].checksum != report.checksum
    assert f"{report.checksum:08x}" in str(report) and "\n" not in str(report)


def test_a_missing_entry_is_refused_unless_partial_is_allowed(trees, state_dict):
    del state_dict["layer2.0.bn1.running_var"]
    with pytest.raises(
        WeightsError,
        match=r"1 entries are missing \(layer2.0.bn1.running_var\): the statistics of",
    ):
        from_torch_resnet(state_dict, *trees)
    _, stats, report = from_torch_resnet(state_dict, *trees, allow_partial=True)
    np.testing.assert_array_equal(
        stats["layer2_0"]["bn1"]["var"], trees[1]["layer2_0"]["bn1"]["var"]
    )
    assert report.missing == ("layer2.0.bn1.running_var",)


def test_another_shape_is_refused_with_both_shapes(trees, state_dict):
    state_dict["conv1.weight"] = np.zeros((4, 1, 7, 7), np.float32)
    shapes = r"conv1.weight is \(4, 1, 7, 7\) in the file, \(4, 3, 7, 7\) in the network"
    with pytest.raises(
        WeightsError,
        match=f"{shapes}.*: the file is made for another number of image channels",
    ):
        from_torch_resnet(state_dict, *trees)
    params, _, report = from_torch_resnet(state_dict, *trees, allow_partial=True)
    np.testing.assert_array_equal(params["conv1"]["kernel"], trees[0]["conv1"]["kernel"])
    assert (
        "conv1.weight" in report.missing and "conv1.weight" not in report.loaded + report.unexpected
    )


def test_a_deeper_networks_file_is_refused(trees):
    """ResNet-101's file holds all that ResNet-50 asks for, in the same shapes: only what is left
    over tells them apart.
    """
    deeper = torch_state_dict(*small_resnet(stage_sizes=(1, 3)))
    with pytest.raises(
        WeightsError,
        match=(
            r"have no place in this network \(layer2.1.*: the file is of another architecture \(1-3"
            r" blocks"
        ),
    ):
        from_torch_resnet(deeper, *trees)


def test_an_unknown_head_is_reported_only(trees, state_dict):
    state_dict["classifier.weight"] = np.zeros((2, 2), np.float32)
    assert from_torch_resnet(state_dict, *trees)[2].unexpected == ("classifier.weight",)


def test_safetensors_files_are_read_without_torch(tmp_path, trees, state_dict):
    safetensors.numpy.save_file(state_dict, tmp_path / "net.safetensors")
    read = load_torch_file(str(tmp_path / "net.safetensors"))
    assert from_torch_resnet(read, *trees)[2] == from_torch_resnet(state_dict, *trees)[2]
    assert "torch" not in sys.modules, "importing it takes seconds and is not needed here"


def renamed(state_dict, prefix):
    return {prefix + name: array for name, array in state_dict.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "backbone.",
        "module.backbone.",
        "model.",
        "encoder.",
        "module.encoder_q.",
        "net.0.body.",
    ],
)
def test_a_prefix_that_all_names_share_is_taken_off(trees, state_dict, prefix):
    plain = from_torch_resnet(state_dict, *trees)
    params, stats, report = from_torch_resnet(renamed(state_dict, prefix), *trees)
    jax.tree.map(np.testing.assert_array_equal, (params, stats), plain[:2])
    assert (
        report.prefix == prefix
        and report.checksum == plain[2].checksum
        and report.ignored == plain[2].ignored
    )
    assert f"entries loaded (prefix '{prefix}' taken off)" in str(report) and "prefix" not in str(
        plain[2]
    )


def test_a_prefix_of_the_backbone_alone_is_taken_off_and_heads_lose_what_they_share(
    trees, state_dict
):
    file = renamed(
        {name: array for name, array in state_dict.items() if not name.startswith("fc.")},
        "module.backbone.",
    )
    file |= {
        "module.fc.weight": np.zeros((2, 2), np.float32),
        "epoch_head.weight": np.zeros(2, np.float32),
    }
    report = from_torch_resnet(file, *trees)[2]
    assert (
        not report.missing
        and report.ignored == ("bn1.num_batches_tracked", "fc.weight")
        and report.unexpected == ("epoch_head.weight",)
    )


def test_plain_names_win_over_a_second_copy_and_two_copies_are_refused(trees, state_dict):
    other = {name: array + 1 for name, array in state_dict.items()}
    both = state_dict | renamed(other, "ema.")
    assert (
        from_torch_resnet(both, *trees)[2].checksum
        == from_torch_resnet(state_dict, *trees)[2].checksum
    )
    with pytest.raises(
        WeightsError,
        match=(
            "holds 2 networks that fit, under 'encoder_k.' and 'encoder_q.': save the one you want"
            " alone"
        ),
    ):
        from_torch_resnet(renamed(state_dict, "encoder_q.") | renamed(other, "encoder_k."), *trees)


def test_a_block_of_another_network_is_no_prefix(trees):
    """Its first convolution and norm are called like the network's own."""
    file = {"stage.0.conv1.weight": np.zeros((4, 3, 7, 7), np.float32)}
    with pytest.raises(
        WeightsError,
        match=r"the file's names \(stage.0.conv1.weight\) are none of this network's",
    ):
        from_torch_resnet(file, *trees)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_numbers_that_are_not_finite_are_refused_by_the_files_own_name(
    trees, state_dict, value, prefix
):
    broken = state_dict["layer2.0.bn2.running_var"].astype(np.float64)
    broken[3] = value
    file = renamed(state_dict | {"layer2.0.bn2.running_var": broken}, prefix)
    with pytest.raises(
        WeightsError,
        match=rf"NaN or infinity in 1 entries: {prefix}layer2.0.bn2.running_var \(1 of 6 numbers\)",
    ):
        from_torch_resnet(file, *trees, allow_partial=True)
    file = renamed(state_dict | {"fc.bias": np.full(10, value)}, prefix)
    assert not from_torch_resnet(file, *trees)[2].missing, "what is not loaded may hold anything"


def test_hints_follow_from_the_cause(trees, state_dict):
    def refused(file, match):
        with pytest.raises(WeightsError, match=match):
            from_torch_resnet(file, *trees)

    partial = {name: array for name, array in state_dict.items() if name != "layer1.0.conv2.weight"}
    refused(
        partial,
        r"1 entries are missing \(layer1.0.conv2.weight\): the rest fits, so the file is"
        r" incomplete",
    )
    refused(
        {name: array for name, array in state_dict.items() if ".running_" not in name},
        "the statistics of batch normalisation are not in",
    )
    basic = {
        name: array
        for name, array in state_dict.items()
        if "conv3" not in name and "bn3" not in name
    }
    refused(
        basic,
        r"architecture \(1-1 blocks of 2 convolutions; this network has 1-1 blocks of 3"
        r" convolutions\): choose config.model.backbone",
    )
    wider = torch_state_dict(*small_resnet(widths=(4, 8)))
    refused(
        wider,
        r"layer2.0.bn1.bias is \(8,\) in the file, \(6,\) in the network\): another architecture:"
        r" choose a file of this backbone",
    )
    refused({}, r"the file's names \(none\) are none of this network's")
