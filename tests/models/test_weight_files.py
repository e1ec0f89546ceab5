"""Weight files by what they hold: torch's, .safetensors, and what people have instead. torch itself
is optional: a stand-in with its calls.
"""

import io
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from dajax.models.weight_files import WeightsError, load_torch_file

ARRAYS = {
    "conv1.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "bn1.bias": np.ones(4, np.float32),
}
PICKLE = b"\x80\x02."  # how a torch file until 1.6 begins


def torch_archive():
    """The bytes of a zip archive as torch.save has written since 1.6: records stored as they are,
    each with a checksum.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02}.")
        for i, array in enumerate(ARRAYS.values()):
            archive.writestr(f"net/data/{i}", array.tobytes())
    return buffer.getvalue()


def with_torch(monkeypatch, load, tensor=()):
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load, Tensor=tensor))


def refusal(path):
    with pytest.raises(WeightsError) as caught:
        load_torch_file(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "content, match",
    [
        (b"", "is empty: fetch it again"),
        (b"\x10", "is no weight file of torch or safetensors"),
        (bytes(4096), "is no weight file of torch or safetensors"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file: convert it"),
        (b"\n<!DOCTYPE html><html>Sign in", "is a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a",
            "is a Git LFS pointer, not the file itself: run `git lfs pull`",
        ),
        (b"\x1f\x8b\x08", r"is packed \(gzip\): unpack it first"),
        (b"a.pth".ljust(257, b"\0") + b"ustar", "is a tar archive: unpack it first"),
        (b"\x93NUMPY\x01", "is one numpy array"),
    ],
)
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors", "net.pth.tar"])
def test_what_is_no_weight_file_is_named_whatever_its_ending(tmp_path, content, match, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=match):
        load_torch_file(tmp_path / name)
    refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["net.safetensors", "net.bin", "net.ckpt", "net.pth.tar", "net"])
def test_safetensors_are_known_by_their_content(tmp_path, name):
    safetensors.numpy.save_file(ARRAYS, tmp_path / name)
    read = load_torch_file(tmp_path / name)
    assert read.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(read[key], array)


@pytest.mark.parametrize(
    "name",
    [
        "net.pth",
        "net.bin",
        "net.ckpt",
        "net.pth.tar",
        "ckpt_final.weights",
        "net.safetensors",
        "net",
    ],
)
@pytest.mark.parametrize("content", [PICKLE, torch_archive()], ids=["old", "new"])
def test_torch_files_are_known_by_their_content(tmp_path, monkeypatch, name, content):
    (tmp_path / name).write_bytes(content)
    seen = []
    with_torch(
        monkeypatch,
        lambda path, **_: seen.append(path) or {"w": FakeParameter(np.ones(2))},
        FakeParameter,
    )
    assert list(load_torch_file(tmp_path / name)) == ["w"] and seen == [tmp_path / name]


def test_a_home_folder_is_expanded_and_a_wrong_path_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    safetensors.numpy.save_file(ARRAYS, tmp_path / "net.safetensors")
    assert load_torch_file("~/net.safetensors").keys() == ARRAYS.keys()
    with pytest.raises(
        WeightsError, match=f"no such file: {tmp_path}/absent.pth; fetch it, or correct the path"
    ):
        load_torch_file("~/absent.pth")
    with pytest.raises(WeightsError, match="is a folder: name the weight file in it"):
        load_torch_file(tmp_path)
    with pytest.raises(WeightsError, match="~nobody_of_this_name/net.pth: .*; give the whole path"):
        load_torch_file("~nobody_of_this_name/net.pth")


def test_archives_of_others_are_named(tmp_path):
    np.savez(tmp_path / "net.npz", **ARRAYS)
    assert "is a .npz archive that torch.save has not written" in refusal(tmp_path / "net.npz")
    for name, record, expected in (
        ("other.pth", "readme.txt", "is a zip archive that torch.save"),
        ("jit.pt", "jit/constants.pkl", "TorchScript program"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(record, "x")
        assert expected in refusal(tmp_path / name)


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_cut_files_are_one_clear_line_wherever_they_are_cut(tmp_path, monkeypatch, kind):
    with_torch(monkeypatch, lambda *_, **__: pytest.fail("torch must not see a damaged archive"))
    safetensors.numpy.save_file(ARRAYS, tmp_path / "whole")
    content = torch_archive() if kind == "torch" else (tmp_path / "whole").read_bytes()
    for length in range(0, len(content) - 1):
        (tmp_path / "net.pth").write_bytes(content[:length])
        refusal(tmp_path / "net.pth")


def test_every_flipped_bit_in_an_archives_numbers_is_noticed(tmp_path, monkeypatch):
    """torch compares no checksum, and would train on what it finds."""
    with_torch(monkeypatch, lambda *_, **__: {"w": FakeParameter(np.ones(2))}, FakeParameter)
    content, numbers = torch_archive(), ARRAYS["conv1.weight"].tobytes()
    start = content.index(numbers)
    for i in range(start, start + len(numbers)):
        damaged = bytearray(content)
        damaged[i] ^= 1 << (i % 8)
        (tmp_path / "net.pth").write_bytes(damaged)
        assert "is damaged or incomplete" in refusal(tmp_path / "net.pth")
    outcomes = []
    for i in range(len(content)):  # elsewhere: read, or refused in one line
        damaged = bytearray(content)
        damaged[i] ^= 0x55
        (tmp_path / "net.pth").write_bytes(damaged)
        try:
            outcomes.append(list(load_torch_file(tmp_path / "net.pth")) == ["w"])
        except WeightsError as error:
            assert "\n" not in str(error)
    assert all(outcomes)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("PytorchStreamReader failed\nmore lines"),
        EOFError(),
        pickle.UnpicklingError("not allowed"),
        ValueError("x"),
        KeyError("0"),
        AttributeError("a"),
        UnicodeDecodeError("utf-8", b"", 0, 1, "bad"),
        IndexError(),
        MemoryError(),
        OverflowError("too large"),
    ],
)
def test_a_damaged_pth_file_is_one_clear_line(tmp_path, monkeypatch, error):
    def load(path, **_):
        raise error

    (tmp_path / "net.pth").write_bytes(PICKLE)
    with_torch(monkeypatch, load)
    with pytest.raises(
        WeightsError,
        match=r"net.pth holds no plain state dict, or is incomplete \([^\n]*\); fetch it again$",
    ):
        load_torch_file(tmp_path / "net.pth")


def test_a_pth_file_of_something_else_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "net.pth").write_bytes(PICKLE)
    for contents, match in (
        ([1, 2], "holds a list, expected a state dict"),
        ({"epoch": 3, "teacher": {}}, r"no tensors .*\(keys: epoch, teacher\)"),
    ):
        with_torch(monkeypatch, lambda path, contents=contents, **_: contents, FakeParameter)
        with pytest.raises(WeightsError, match=f"net.pth.*{match}"):
            load_torch_file(tmp_path / "net.pth")


def test_objects_besides_tensors_are_refused_for_that_reason(tmp_path, monkeypatch):
    def load(path, **_):
        raise pickle.UnpicklingError(
            "Weights only load failed.\n WeightsUnpickler error: Unsupported global: GLOBAL "
            "argparse.Namespace was not allowed"
        )

    (tmp_path / "net.pth").write_bytes(PICKLE)
    with_torch(monkeypatch, load)
    assert "holds Python objects besides tensors (argparse.Namespace)" in refusal(
        tmp_path / "net.pth"
    )


def test_without_torch_the_error_says_how_to_get_on(tmp_path, monkeypatch):
    (tmp_path / "net.pth").write_bytes(PICKLE)
    monkeypatch.setitem(sys.modules, "torch", None)  # makes `import torch` fail
    with pytest.raises(
        WeightsError, match="`pip install torch`, or convert the file to .safetensors"
    ):
        load_torch_file(tmp_path / "net.pth")


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
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() "
                "instead."
            )
        return self._array


@pytest.mark.parametrize("container", [None, "state_dict", "weights", "model_state_dict", "model"])
def test_torch_files_are_read_as_weights_only(tmp_path, monkeypatch, container):
    tensors = {name: FakeParameter(array) for name, array in ARRAYS.items()}
    contents = {"epoch": 3, container: tensors} if container else tensors

    def load(path, *, map_location, weights_only):
        assert map_location == "cpu" and weights_only is True
        return contents

    (tmp_path / "net.pth").write_bytes(PICKLE)
    with_torch(monkeypatch, load, FakeParameter)
    read = load_torch_file(tmp_path / "net.pth")
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
