"""Weight files that users already have: torch's, old and new, and .safetensors.

They are known by their first bytes and not by their ending: a torch file is called .pth, .pt,
.pth.tar, .ckpt, .bin, .weights ... by its project, and a .pth.tar is no tar archive.
"""

import pathlib
import pickle
import re
import struct
import zipfile
import zlib

import safetensors
import safetensors.numpy

# Where a checkpoint has its state dict, first come, first served; the second and third: PLCA's
# ckpt_*.weights and ckpt_*.resume.
CONTAINERS = ("state_dict", "weights", "model_state_dict", "model")
# What Python's zipfile raises over damaged archives, also over offsets and flags without sense.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
_CHUNK = 1 << 24  # bytes of a record that stand in memory while its checksum is compared

# What people have instead: (the file's first bytes, what it is and what to do).
_FOREIGN = (
    (b"\x89HDF", "is an HDF5 file: convert it to .safetensors with torchvision's names"),
    (b"\x93NUMPY", "is one numpy array: convert it to .safetensors with torchvision's names"),
    (b"\x1f\x8b", "is packed (gzip): unpack it first"),
    (b"BZh", "is packed (bzip2): unpack it first"),
    (b"\xfd7zXZ", "is packed (xz): unpack it first"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"<", "is a web page, about the file or a refusal of it: fetch the file itself"),
)


class WeightsError(Exception):
    """The file cannot be read, or does not fit the network; one line that says what to do."""


def load_torch_file(path):
    """Reads a state dict.

    Args:
      path: a file of torch.save (needs torch; loaded with weights_only, which runs no code of the
        file) or of safetensors, under any name; `~` is the home folder. A dict with one of the keys
        of CONTAINERS stands for what is under it.

    Returns:
      {torch name: numpy array}; from torch's files all float32.

    Raises:
      WeightsError: no such file, another kind of file, torch is missing, or the file is damaged.
      OSError: it cannot be opened, for instance without the permission.
    """
    try:
        path = pathlib.Path(path).expanduser()
    except RuntimeError as error:  # ~somebody, who has no home here
        raise WeightsError(f"{path}: {error}; give the whole path") from error
    if path.is_dir():
        raise WeightsError(f"{path} is a folder: name the weight file in it")
    if not path.exists():
        raise WeightsError(f"no such file: {path}; fetch it, or correct the path")
    with path.open("rb") as file:
        head = file.read(512)
    if int.from_bytes(head[:8], "little") > 0 and head[8:9] == b"{":  # the header and its length
        return _load_safetensors(path)
    if head.startswith(b"PK\x03\x04"):
        _check_archive(path)
        return _load_torch(path)
    if head.startswith(b"\x80"):  # a pickle: torch's files until 1.6
        return _load_torch(path)
    raise WeightsError(f"{path.name} {_what_it_is(head)}")


def _what_it_is(head):
    """What a file is that neither torch nor safetensors wrote, and what to do."""
    if not head:
        return "is empty: fetch it again"
    for start, meaning in _FOREIGN:
        if head.lstrip().startswith(start):
            return meaning
    if head[257:262] == b"ustar":
        return "is a tar archive: unpack it first"
    return (
        f"is no weight file of torch or safetensors (it begins with {head[:8]!r}): incomplete, or "
        "another format; fetch it again"
    )


def _load_safetensors(path):
    try:
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        line = f"{path.name} is no complete .safetensors file ({error}); fetch it again"
        raise WeightsError(line) from error
    except (KeyError, TypeError) as error:  # numpy has no such numbers, 8-bit floats for one
        line = f"{path.name} holds numbers of type {error}, unknown to numpy: convert it to float32"
        raise WeightsError(line) from error


def _check_archive(path):
    """That a zip archive is torch's, and as it was written: torch itself compares no checksum.

    Raises:
      WeightsError: it is neither.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            names = [record.filename for record in records]
            if any(name.endswith("/constants.pkl") for name in names):
                line = f"{path.name} is a TorchScript program: save model.state_dict() instead"
                raise WeightsError(line)
            if not any(name.endswith("data.pkl") for name in names):
                kind = "a .npz" if all(name.endswith(".npy") for name in names) else "a zip"
                raise WeightsError(
                    f"{path.name} is {kind} archive that torch.save has not written: unpack it, "
                    "or convert it to .safetensors"
                )
            for record in records:
                if record.CRC:  # 0: torch.serialization.set_crc32_options(False)
                    with archive.open(record) as file:
                        while file.read(_CHUNK):
                            pass
    except _DAMAGED as error:
        line = f"{path.name} is damaged or incomplete ({_line(error)}); fetch it again"
        raise WeightsError(line) from error


def _load_torch(path):
    try:
        import torch  # optional and large: only here
    except ImportError as error:
        remedy = "`pip install torch`, or convert the file to .safetensors"
        line = f"reading {path.name} needs torch: {remedy}"
        raise WeightsError(line) from error
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises nearly anything
        raise WeightsError(f"{path.name} {_why_not(error)}") from error
    if not isinstance(contents, dict):
        kind = type(contents).__name__
        remedy = "save model.state_dict() instead"
        raise WeightsError(f"{path.name} holds a {kind}, expected a state dict: {remedy}")
    inner = (contents[key] for key in CONTAINERS if isinstance(contents.get(key), dict))
    contents = next(inner, contents)
    # detach: torchvision's older files hold Parameters, which do not convert as they are.
    tensors = {
        str(name): tensor.detach().float().numpy()
        for name, tensor in contents.items()
        if isinstance(tensor, torch.Tensor)
    }
    if not tensors:
        keys = ", ".join(map(str, list(contents)[:5])) or "none"
        raise WeightsError(
            f"{path.name} holds no tensors at its first level (keys: {keys}): save "
            "model.state_dict() alone"
        )
    return tensors


def _why_not(error):
    """Why torch does not load a file, from its exception, and what to do."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    if found and isinstance(error, pickle.UnpicklingError):
        return (
            f"holds Python objects besides tensors ({found[1]}), which could run any code and are "
            "not loaded: where you trust it, save its state dict alone, or as .safetensors"
        )
    return f"holds no plain state dict, or is incomplete ({_line(error)}); fetch it again"


def _line(error):
    return str(error).partition("\n")[0] or type(error).__name__  # torch's pages of advice follow
