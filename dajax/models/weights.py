"""Pretrained backbones from the files that users already have: torch .pth / .pt, and .safetensors. Segmenters: seg_weights.py."""

import dataclasses
import pathlib
import pickle
import re
import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

# (module in torchvision, module here) where the names differ; elsewhere "layer1.0" is "layer1_0" and the rest is equal.
SHORTCUT_MODULES = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
IGNORED = re.compile(r"fc\.|.*num_batches_tracked$")  # ImageNet's classes; torch's counter for cumulative averages
TORCH_SUFFIXES = (".pth", ".pt", ".weights")  # .weights: PLCA's checkpoints
CONTAINERS = ("state_dict", "weights", "model_state_dict")  # the last two: PLCA's ckpt_*.weights and ckpt_*.resume
BACKBONE = re.compile(r"(conv1|bn1|layer[1-4])\.")


class WeightsError(Exception):
    """The file cannot be read, or does not fit the network; one line that says what to do."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of a weights file; all names are the file's, without prefixes such as "Scale.", sorted.

    Attributes:
      loaded: entries copied into the network.
      missing: of the network, not in the file or there in another shape; left as they were.
      unexpected: in the file, not in the network.
      ignored: in the file, left out on purpose (the ImageNet head, batch counters).
      checksum: crc32 of the loaded arrays, float32 in torch's layout in the order of `loaded`; the same file gives the same number.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    ignored: tuple[str, ...]
    checksum: int

    def __str__(self):
        def listing(kind, names):
            return f"{len(names)} {kind}" + (f" ({_first(names)})" if names else "")

        others = ", ".join(listing(kind, getattr(self, kind)) for kind in ("missing", "unexpected", "ignored"))
        return f"{len(self.loaded)} entries loaded, crc32 {self.checksum:08x}; {others}"


def _first(names, count=3):
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def load_torch_file(path):
    """Reads a state dict.

    Args:
      path: a .safetensors file, or a .pth / .pt / .weights file, which needs torch. A dict with one of the keys of CONTAINERS stands
        for what is under it.

    Returns:
      {torch name: numpy array}; from .pth all float32.

    Raises:
      WeightsError: another suffix, torch is missing, or the file is damaged.
      FileNotFoundError: no such file.
    """
    path = pathlib.Path(path)
    if path.suffix == ".safetensors":
        try:
            return safetensors.numpy.load_file(path)
        except safetensors.SafetensorError as error:
            raise WeightsError(f"{path.name} is no complete .safetensors file ({error}); fetch it again") from error
    if path.suffix not in TORCH_SUFFIXES:
        raise WeightsError(f"{path.name}: unknown kind of weights file '{path.suffix}'; known: .safetensors, {', '.join(TORCH_SUFFIXES)}")
    try:
        import torch  # optional and large: only here
    except ImportError as error:
        raise WeightsError(f"reading {path.name} needs torch: `pip install torch`, or convert the file to .safetensors") from error
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]  # torch's pages of advice follow
        raise WeightsError(f"{path.name} holds no plain state dict, or is incomplete ({reason}); fetch it again") from error
    if not isinstance(contents, dict):
        raise WeightsError(f"{path.name} holds a {type(contents).__name__}, expected a state dict: save model.state_dict() instead")
    contents = next((contents[key] for key in CONTAINERS if isinstance(contents.get(key), dict)), contents)
    # detach: torchvision's older files hold Parameters, which do not convert as they are.
    return {name: tensor.detach().float().numpy() for name, tensor in contents.items() if isinstance(tensor, torch.Tensor)}


def torch_name(path):
    """("layer1_0", "downsample_bn", "scale") -> "layer1.0.downsample.1.weight"; ("layer5", "conv2d_list_0", ...) -> "layer5.conv2d_list.0..."."""
    *modules, leaf = path
    return ".".join([SHORTCUT_MODULES.get(module, re.sub(r"_(\d+)$", r".\1", module)) for module in modules] + [LEAVES[leaf]])


def torch_shape(leaf_shape):
    """The shape that torch has for a leaf: HWIO -> OIHW; [domains, C] -> [C]; a convolution's bias is [C] here as there."""
    if len(leaf_shape) == 4:
        return tuple(leaf_shape[axis] for axis in (3, 2, 0, 1))
    return tuple(leaf_shape[-1:])


def _to_layout(array, leaf_shape):
    """A torch array as this network stores it, or None where the shapes do not fit; all domains get the same."""
    array = np.asarray(array, np.float32)
    if array.shape != torch_shape(leaf_shape):
        return None
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else np.broadcast_to(array, leaf_shape)


def from_torch_resnet(state_dict, params, batch_stats, *, allow_partial=False):
    """Pours a torchvision ResNet into a backbone.

    All domains start from the same normalisation parameters and statistics (CAN, model/domain_specific_module.py). Where the stride
    stands (torchvision or caffe) and how images must be prepared cannot be told from a file: that is the caller's to know.

    Args:
      state_dict: {torchvision name: array}, kernels [out, in, kh, kw].
      params, batch_stats: trees of a ResNet, for names and shapes; not changed.
      allow_partial: keep what the file lacks or has in another shape as it is, instead of refusing.

    Returns:
      (params, batch_stats, Report).

    Raises:
      WeightsError: entries are missing, of another shape, or left over from the backbone of another network.
    """
    new_params, new_batch_stats, poured = pour(state_dict, params, batch_stats)
    ignored = {name for name in state_dict if IGNORED.match(name)}
    report = make_report(state_dict, poured, ignored)
    if not allow_partial:
        check_complete(poured, [name for name in report.unexpected if BACKBONE.match(name)])
    return new_params, new_batch_stats, report


class Poured(NamedTuple):
    """Names by what became of them: `loaded`; `absent` from the file; `misfits`, {name: what the file and the network have}."""

    loaded: list[str]
    absent: list[str]
    misfits: dict[str, str]


def pour(state_dict, params, batch_stats):
    """Copies every entry that fits into its place: (params, batch_stats, Poured). Leaves that have none stay as they are.

    Args:
      state_dict: {name as of `torch_name`: array in torch's layout}.
      params, batch_stats: trees; not changed.
    """
    poured = Poured([], [], {})

    def fit(path, leaf):
        name = torch_name([entry.key for entry in path[1:] if entry.key != "backbone"])  # path[0]: which of the two trees
        if name not in state_dict:
            poured.absent.append(name)
            return leaf
        array = _to_layout(state_dict[name], leaf.shape)
        if array is None:
            poured.misfits[name] = f"{name} is {np.shape(state_dict[name])} in the file, {torch_shape(leaf.shape)} in the network"
            return leaf
        poured.loaded.append(name)
        return jnp.asarray(array)

    return *jax.tree_util.tree_map_with_path(fit, (params, batch_stats)), poured


def make_report(state_dict, poured, ignored):
    """The Report of `pour`, with `ignored` a set of names that were left out on purpose."""
    loaded = sorted(poured.loaded)
    unexpected = state_dict.keys() - set(loaded) - poured.misfits.keys() - ignored
    return Report(
        loaded=tuple(loaded), missing=tuple(sorted([*poured.absent, *poured.misfits])), unexpected=tuple(sorted(unexpected)),
        ignored=tuple(sorted(ignored)), checksum=_checksum(state_dict, loaded),
    )


def check_complete(poured, left_over, hint="probably a file of another architecture, choose one of this backbone"):
    """Refuses a file that fills the network in part, or would fill another one.

    Args:
      poured: its `absent` and `misfits` are what the network asked for in vain.
      left_over: names of the file that have no place in the network.
      hint: what to do.

    Raises:
      WeightsError: one line.
    """
    problems, absent, misfits = [], sorted(poured.absent), [poured.misfits[name] for name in sorted(poured.misfits)]
    if absent:
        problems.append(f"{len(absent)} entries are missing ({_first(absent)})")
    if misfits:
        problems.append(f"{len(misfits)} have another shape ({misfits[0]})")
    if left_over:
        problems.append(f"{len(left_over)} of the file have no place in this network ({_first(left_over)})")
    if problems:
        raise WeightsError(f"{'; '.join(problems)}: {hint}")


def _checksum(state_dict, names):
    checksum = 0
    for name in names:
        checksum = zlib.crc32(np.ascontiguousarray(state_dict[name], np.float32).tobytes(), checksum)
    return checksum
