"""Pretrained backbones from the files that users already have: torch .pth / .pt, and .safetensors."""

import dataclasses
import pathlib
import pickle
import re
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

# (module in torchvision, module here) where the names differ; elsewhere "layer1.0" is "layer1_0" and the rest is equal.
SHORTCUT_MODULES = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
IGNORED = re.compile(r"fc\.|.*num_batches_tracked$")  # ImageNet's classes; torch's counter for cumulative averages
BACKBONE = re.compile(r"(conv1|bn1|layer[1-4])\.")


class WeightsError(Exception):
    """The file cannot be read, or does not fit the network; one line that says what to do."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of a weights file; all names are torchvision's, sorted.

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
      path: a .safetensors file, or a .pth / .pt file, which needs torch. A dict with the key "state_dict" stands for what is under it.

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
    if path.suffix not in (".pth", ".pt"):
        raise WeightsError(f"{path.name}: unknown kind of weights file '{path.suffix}'; known: .safetensors, .pth, .pt")
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
    contents = contents.get("state_dict", contents)
    # detach: torchvision's older files hold Parameters, which do not convert as they are.
    return {name: tensor.detach().float().numpy() for name, tensor in contents.items() if isinstance(tensor, torch.Tensor)}


def torch_name(path):
    """("layer1_0", "downsample_bn", "scale") -> "layer1.0.downsample.1.weight"."""
    *modules, leaf = path
    return ".".join([SHORTCUT_MODULES.get(module, module.replace("_", ".")) for module in modules] + [LEAVES[leaf]])


def _to_layout(array, leaf_shape):
    """A torch array as this network stores it, or None where the shapes do not fit. OIHW -> HWIO; [C] -> [domains, C], equal rows."""
    array = np.asarray(array, np.float32)
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)  # [kh, kw, in, out]
        return array if array.shape == leaf_shape else None
    return np.broadcast_to(array, leaf_shape) if array.ndim == 1 and array.shape == leaf_shape[1:] else None


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
    loaded, absent, misfits = [], [], {}

    def fit(path, leaf):
        name = torch_name([entry.key for entry in path[1:]])  # path[0]: which of the two trees
        if name not in state_dict:
            absent.append(name)
            return leaf
        array = _to_layout(state_dict[name], leaf.shape)
        if array is None:
            expected = leaf.shape[1:] if leaf.ndim == 2 else tuple(leaf.shape[axis] for axis in (3, 2, 0, 1))
            misfits[name] = f"{name} is {np.shape(state_dict[name])} in the file, {expected} in the network"
            return leaf
        loaded.append(name)
        return jnp.asarray(array)

    new_params, new_batch_stats = jax.tree_util.tree_map_with_path(fit, (params, batch_stats))
    ignored = sorted(name for name in state_dict if IGNORED.match(name))
    unexpected = sorted(state_dict.keys() - set(loaded) - set(misfits) - set(ignored))
    if not allow_partial:
        _check_complete(sorted(absent), [misfits[name] for name in sorted(misfits)], [name for name in unexpected if BACKBONE.match(name)])
    report = Report(
        loaded=tuple(sorted(loaded)), missing=tuple(sorted(absent + list(misfits))), unexpected=tuple(unexpected), ignored=tuple(ignored),
        checksum=_checksum(state_dict, sorted(loaded)),
    )
    return new_params, new_batch_stats, report


def _check_complete(absent, misfits, left_over):
    problems = []
    if absent:
        problems.append(f"{len(absent)} entries are missing ({_first(absent)})")
    if misfits:
        problems.append(f"{len(misfits)} have another shape ({misfits[0]})")
    if left_over:
        problems.append(f"{len(left_over)} of the file have no place in this network ({_first(left_over)})")
    if problems:
        raise WeightsError(f"{'; '.join(problems)}: probably a file of another architecture, choose one of this backbone")


def _checksum(state_dict, names):
    checksum = 0
    for name in names:
        checksum = zlib.crc32(np.ascontiguousarray(state_dict[name], np.float32).tobytes(), checksum)
    return checksum
