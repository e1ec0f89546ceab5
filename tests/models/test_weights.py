"""Pretrained weights: names, layouts, refusals, and the report."""

import pickle
import sys
import types
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from dajax.models import weights
from dajax.models.norm import Mode
from dajax.models.resnet import ResNet


def small_resnet(stage_sizes=(1, 1), widths=(4, 6)):
    """(params, batch_stats) of a bottleneck network with two domains; all zeros, which no file of these tests holds."""
    model = ResNet(stage_sizes, "bottleneck", widths, num_domains=2)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), Mode()))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    return variables["params"], variables["batch_stats"]


def torch_state_dict(params, stats, seed=0):
    """Random torch arrays for every entry of the network, and what torchvision's files hold besides."""
    rng, state_dict = np.random.default_rng(seed), {}
    for path, leaf in jax.tree_util.tree_leaves_with_path((params, stats)):
        shape = tuple(leaf.shape[axis] for axis in (3, 2, 0, 1)) if leaf.ndim == 4 else leaf.shape[1:]
        state_dict[weights.torch_name([entry.key for entry in path[1:]])] = rng.standard_normal(shape).astype(np.float32)
    state_dict["bn1.num_batches_tracked"] = np.array(7)
    return state_dict | {"fc.weight": np.zeros((10, 24), np.float32), "fc.bias": np.zeros(10, np.float32)}


@pytest.fixture(scope="module")
def trees():
    return small_resnet()


@pytest.fixture
def state_dict(trees):
    return torch_state_dict(*trees)


def test_names_are_torchvisions():
    assert weights.torch_name(("conv1", "kernel")) == "conv1.weight"
    assert weights.torch_name(("layer3_22", "bn2", "var")) == "layer3.22.bn2.running_var"
    assert weights.torch_name(("layer1_0", "downsample_conv", "kernel")) == "layer1.0.downsample.0.weight"
    assert weights.torch_name(("layer1_0", "downsample_bn", "mean")) == "layer1.0.downsample.1.running_mean"


def test_every_entry_lands_in_its_place_and_in_every_domain(trees, state_dict):
    params, stats, report = weights.from_torch_resnet(state_dict, *trees)
    kernel = state_dict["layer2.0.conv2.weight"]
    np.testing.assert_array_equal(params["layer2_0"]["conv2"]["kernel"][1, 2, 3, 4], kernel[4, 3, 1, 2])
    for domain in (0, 1):
        np.testing.assert_array_equal(params["layer1_0"]["downsample_bn"]["scale"][domain], state_dict["layer1.0.downsample.1.weight"])
        np.testing.assert_array_equal(params["bn1"]["bias"][domain], state_dict["bn1.bias"])
        np.testing.assert_array_equal(stats["layer2_0"]["bn3"]["mean"][domain], state_dict["layer2.0.bn3.running_mean"])
        np.testing.assert_array_equal(stats["layer2_0"]["bn3"]["var"][domain], state_dict["layer2.0.bn3.running_var"])
    assert jax.tree.map(jnp.shape, (params, stats)) == jax.tree.map(jnp.shape, trees)
    assert len(report.loaded) == len(jax.tree.leaves(trees)) and not report.missing and not report.unexpected
    assert report.ignored == ("bn1.num_batches_tracked", "fc.bias", "fc.weight")


def test_checksum_is_that_of_the_files_arrays(trees, state_dict):
    _, _, report = weights.from_torch_resnet(state_dict, *trees)
    assert report.checksum == zlib.crc32(b"".join(state_dict[name].tobytes() for name in report.loaded))
    state_dict["layer1.0.bn1.bias"][0] += 1
    assert weights.from_torch_resnet(state_dict, *trees)[2].checksum != report.checksum
    assert f"{report.checksum:08x}" in str(report) and "\n" not in str(report)


def test_a_missing_entry_is_refused_unless_partial_is_allowed(trees, state_dict):
    del state_dict["layer2.0.bn1.running_var"]
    with pytest.raises(weights.WeightsError, match=r"1 entries are missing \(layer2.0.bn1.running_var\)"):
        weights.from_torch_resnet(state_dict, *trees)
    _, stats, report = weights.from_torch_resnet(state_dict, *trees, allow_partial=True)
    np.testing.assert_array_equal(stats["layer2_0"]["bn1"]["var"], trees[1]["layer2_0"]["bn1"]["var"])
    assert report.missing == ("layer2.0.bn1.running_var",)


def test_another_shape_is_refused_with_both_shapes(trees, state_dict):
    state_dict["conv1.weight"] = np.zeros((4, 1, 7, 7), np.float32)
    shapes = r"conv1.weight is \(4, 1, 7, 7\) in the file, \(4, 3, 7, 7\) in the network"
    with pytest.raises(weights.WeightsError, match=f"{shapes}.*another architecture"):
        weights.from_torch_resnet(state_dict, *trees)
    params, _, report = weights.from_torch_resnet(state_dict, *trees, allow_partial=True)
    np.testing.assert_array_equal(params["conv1"]["kernel"], trees[0]["conv1"]["kernel"])
    assert "conv1.weight" in report.missing and "conv1.weight" not in report.loaded + report.unexpected


def test_a_deeper_networks_file_is_refused(trees):
    """ResNet-101's file holds all that ResNet-50 asks for, in the same shapes: only what is left over tells them apart."""
    deeper = torch_state_dict(*small_resnet(stage_sizes=(1, 3)))
    with pytest.raises(weights.WeightsError, match=r"have no place in this network \(layer2.1.*another architecture"):
        weights.from_torch_resnet(deeper, *trees)


def test_an_unknown_head_is_reported_only(trees, state_dict):
    state_dict["classifier.weight"] = np.zeros((2, 2), np.float32)
    assert weights.from_torch_resnet(state_dict, *trees)[2].unexpected == ("classifier.weight",)


def test_safetensors_files_are_read_without_torch(tmp_path, trees, state_dict):
    safetensors.numpy.save_file(state_dict, tmp_path / "net.safetensors")
    read = weights.load_torch_file(str(tmp_path / "net.safetensors"))
    assert weights.from_torch_resnet(read, *trees)[2] == weights.from_torch_resnet(state_dict, *trees)[2]
    assert "torch" not in sys.modules, "importing it takes seconds and is not needed here"


def test_unreadable_files_are_one_clear_line(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    with pytest.raises(weights.WeightsError, match="cut.safetensors is no complete .safetensors file"):
        weights.load_torch_file(tmp_path / "cut.safetensors")
    with pytest.raises(weights.WeightsError, match=r"unknown kind of weights file '.h5'; known: .safetensors, .pth, .pt"):
        weights.load_torch_file(tmp_path / "net.h5")
    with pytest.raises(FileNotFoundError):
        weights.load_torch_file(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("error", [RuntimeError("PytorchStreamReader failed\nmore lines"), EOFError(), pickle.UnpicklingError("not allowed")])
def test_a_damaged_pth_file_is_one_clear_line(tmp_path, monkeypatch, error):
    def load(path, **_):
        raise error

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load))
    with pytest.raises(weights.WeightsError, match=r"net.pth holds no plain state dict, or is incomplete \([^\n]*\); fetch it again$"):
        weights.load_torch_file(tmp_path / "net.pth")


def test_a_pth_file_of_something_else_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=lambda path, **_: [1, 2]))
    with pytest.raises(weights.WeightsError, match="net.pth holds a list, expected a state dict"):
        weights.load_torch_file(tmp_path / "net.pth")


def test_without_torch_the_error_says_how_to_get_on(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # makes `import torch` fail
    with pytest.raises(weights.WeightsError, match="`pip install torch`, or convert the file to .safetensors"):
        weights.load_torch_file(tmp_path / "net.pth")


class FakeParameter:
    """What the loader asks of a torch.nn.Parameter, which refuses numpy() until it is detached."""

    def __init__(self, array, requires_grad=True):
        self._array, self._requires_grad = array, requires_grad

    def detach(self):
        return FakeParameter(self._array, requires_grad=False)

    def float(self):
        return FakeParameter(self._array.astype(np.float32), self._requires_grad)

    def numpy(self):
        if self._requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self._array


@pytest.mark.parametrize("nested", [False, True])
def test_pth_files_are_read_through_torch_as_weights_only(tmp_path, monkeypatch, trees, state_dict, nested):
    """torch itself is optional and not installed for the tests: a stand-in with the same calls."""
    tensors = {name: FakeParameter(array) for name, array in state_dict.items()}
    contents = {"epoch": 3, "state_dict": tensors} if nested else tensors

    def load(path, *, map_location, weights_only):
        assert map_location == "cpu" and weights_only is True
        return contents

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load, Tensor=FakeParameter))
    read = weights.load_torch_file(tmp_path / "net.pth")
    assert weights.from_torch_resnet(read, *trees)[2] == weights.from_torch_resnet(state_dict, *trees)[2]
