"""Pretrained backbones from state dicts with torchvision's names.

The files are read by weight_files.py; segmenters: seg_weights.py.
"""

import collections
import dataclasses
import re
import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dajax.models.weight_files import WeightsError

# (module in torchvision, module here) where the names differ; elsewhere "layer1.0" is "layer1_0"
# and the rest is equal.
SHORTCUT_MODULES = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
# ImageNet's classes; torch's counter for cumulative averages
IGNORED = re.compile(r"fc\.|.*num_batches_tracked$")
BACKBONE = re.compile(r"(conv1|bn1|layer[1-4])\.")
BLOCK = re.compile(r"(layer[1-4])\.(\d+)\.")
# A prefix must lead to so many of the network's names. By chance, the first norm and convolution
# of a block are called like the network's own: 5 of 75 names of the smallest backbone. A real
# prefix leads to all, and to a fifth in the file of a far shallower network.
MIN_PREFIX_SHARE = 1 / 8


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of a weights file; all names are the file's, without prefixes such as "Scale.",
    sorted.

    Attributes:
      loaded: entries copied into the network.
      missing: of the network, not in the file or there in another shape; left as they were.
      unexpected: in the file, not in the network.
      ignored: in the file, left out on purpose (the ImageNet head, batch counters).
      checksum: crc32 of the loaded arrays, float32 in torch's layout in the order of `loaded`; the
        same file gives the same number.
      prefix: what was taken off the file's names, e.g. "module.".
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    ignored: tuple[str, ...]
    checksum: int
    prefix: str = ""

    def __str__(self):
        def listing(kind, names):
            return f"{len(names)} {kind}" + (f" ({_first(names)})" if names else "")

        others = ", ".join(
            listing(kind, getattr(self, kind)) for kind in ("missing", "unexpected", "ignored")
        )
        prefix = f" (prefix '{self.prefix}' taken off)" if self.prefix else ""
        return f"{len(self.loaded)} entries loaded{prefix}, crc32 {self.checksum:08x}; {others}"


def _first(names, count=3):
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def torch_name(path):
    """("layer1_0", "downsample_bn", "scale") -> "layer1.0.downsample.1.weight"; ("layer5",
    "conv2d_list_0", ...) -> "layer5.conv2d_list.0...".
    """
    *modules, leaf = path
    return ".".join(
        [SHORTCUT_MODULES.get(module, re.sub(r"_(\d+)$", r".\1", module)) for module in modules]
        + [LEAVES[leaf]]
    )


def torch_shape(leaf_shape):
    """The shape that torch has for a leaf: HWIO -> OIHW; [domains, C] -> [C]; a convolution's bias
    is [C] here as there.
    """
    if len(leaf_shape) == 4:
        return tuple(leaf_shape[axis] for axis in (3, 2, 0, 1))
    return tuple(leaf_shape[-1:])


def _to_layout(array, leaf_shape):
    """A torch array as this network stores it, or None where the shapes do not fit; all domains get
    the same.
    """
    with np.errstate(over="ignore"):  # of 64-bit numbers: check_finite's to find
        array = np.asarray(array, np.float32)
    if array.shape != torch_shape(leaf_shape):
        return None
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else np.broadcast_to(array, leaf_shape)


def from_torch_resnet(state_dict, params, batch_stats, *, allow_partial=False):
    """Pours a torchvision ResNet into a backbone.

    All domains start from the same normalisation parameters and statistics (CAN,
    model/domain_specific_module.py). Where the stride stands (torchvision or caffe) and how images
    must be prepared cannot be told from a file: that is the caller's to know.

    Args:
      state_dict: {torchvision name: array}, kernels [out, in, kh, kw]; names may have a prefix, see
        `without_prefix`.
      params, batch_stats: trees of a ResNet, for names and shapes; not changed.
      allow_partial: keep what the file lacks or has in another shape as it is, instead of refusing.

    Returns:
      (params, batch_stats, Report).

    Raises:
      WeightsError: entries are missing, of another shape, not finite, or left over from the
        backbone of another network.
    """
    entries = without_prefix(state_dict, names_of(params, batch_stats))
    new_params, new_batch_stats, poured = pour(entries.arrays, params, batch_stats)
    check_finite(entries, poured.loaded)
    ignored = {name for name in entries.arrays if IGNORED.match(name)}
    report = make_report(entries, poured, ignored)
    if not allow_partial:
        left_over = [name for name in report.unexpected if BACKBONE.match(name)]
        check_complete(poured, left_over, mismatch_hint(poured, left_over, entries))
    return new_params, new_batch_stats, report


def names_of(*trees):
    """The torch names of the leaves of parameters or statistics."""
    paths = (path for tree in trees for path, _ in jax.tree_util.tree_leaves_with_path(tree))
    return {torch_name([entry.key for entry in path if entry.key != "backbone"]) for path in paths}


class Entries(NamedTuple):
    """A file's entries under the names that the network has for them.

    Attributes:
      arrays: {name: array}; file_names: {name: what the file calls it}; prefix: what was taken off.
    """

    arrays: dict
    file_names: dict[str, str]
    prefix: str


def without_prefix(state_dict, wanted):
    """The file's Entries without a prefix that the network's names share: "module.", "backbone."
    ...

    Which it is follows from the names alone: the prefix that leads to most of `wanted`. Names that
    share only its beginning ("module.classifier" beside "module.backbone.") lose that beginning.

    Args:
      state_dict: {name: array}; wanted: names of the network's backbone.

    Raises:
      WeightsError: several prefixes lead there equally well: the file holds several networks.
    """
    found = collections.Counter()
    for name in state_dict:
        parts = name.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in wanted:
                found["".join(f"{part}." for part in parts[:i])] += 1
    most = max(found.values(), default=0)
    best = sorted(prefix for prefix, count in found.items() if count == most)
    if most < MIN_PREFIX_SHARE * len(wanted) or "" in best:
        return Entries(dict(state_dict), {name: name for name in state_dict}, "")
    if len(best) > 1:
        named = " and ".join(f"'{prefix}'" for prefix in best)
        raise WeightsError(
            f"the file holds {len(best)} networks that fit, under {named}: save the one you want "
            "alone"
        )
    (prefix,) = best
    parts = prefix.split(".")[:-1]
    longest_first = range(len(parts), -1, -1)
    beginnings = ["".join(f"{part}." for part in parts[:i]) for i in longest_first]
    file_names = {}
    # The network's names come last, so that no other takes their places.
    for name in sorted(state_dict, key=lambda name: name.startswith(prefix)):
        beginning = next(beginning for beginning in beginnings if name.startswith(beginning))
        file_names[name.removeprefix(beginning)] = name
    arrays = {name: state_dict[file_name] for name, file_name in file_names.items()}
    return Entries(arrays, file_names, prefix)


class Poured(NamedTuple):
    """Names by what became of them: `loaded`; `absent` from the file; `misfits`, {name: what the
    file and the network have}.
    """

    loaded: list[str]
    absent: list[str]
    misfits: dict[str, str]


def pour(state_dict, params, batch_stats):
    """Copies every entry that fits into its place: (params, batch_stats, Poured). Leaves that have
    none stay as they are.

    Args:
      state_dict: {name as of `torch_name`: array in torch's layout}.
      params, batch_stats: trees; not changed.
    """
    poured = Poured([], [], {})

    def fit(path, leaf):
        # path[0]: which of the two trees
        name = torch_name([entry.key for entry in path[1:] if entry.key != "backbone"])
        if name not in state_dict:
            poured.absent.append(name)
            return leaf
        array = _to_layout(state_dict[name], leaf.shape)
        if array is None:
            poured.misfits[name] = (
                f"{name} is {np.shape(state_dict[name])} in the file, {torch_shape(leaf.shape)} in"
                " the network"
            )
            return leaf
        poured.loaded.append(name)
        return jnp.asarray(array)

    return *jax.tree_util.tree_map_with_path(fit, (params, batch_stats)), poured


def check_finite(entries, loaded):
    """Refuses NaN and infinity in what the network takes; they would make every later number NaN.

    Args:
      entries: Entries; loaded: names of those that the network takes.

    Raises:
      WeightsError: one line that names the entry as the file does.
    """
    broken = []
    for name in sorted(loaded):
        with np.errstate(over="ignore"):  # of 64-bit numbers: found here as infinite
            array = np.asarray(entries.arrays[name], np.float32)
        count = array.size - int(np.isfinite(array).sum())
        if count:
            broken.append(f"{entries.file_names[name]} ({count} of {array.size} numbers)")
    if broken:
        raise WeightsError(
            f"NaN or infinity in {len(broken)} entries: {_first(broken)}; the file is damaged, or "
            "was saved by a run that had diverged: choose another"
        )


def make_report(entries, poured, ignored):
    """The Report of `pour` on Entries, with `ignored` a set of names left out on purpose."""
    state_dict, loaded = entries.arrays, sorted(poured.loaded)
    unexpected = state_dict.keys() - set(loaded) - poured.misfits.keys() - ignored
    return Report(
        loaded=tuple(loaded),
        missing=tuple(sorted([*poured.absent, *poured.misfits])),
        unexpected=tuple(sorted(unexpected)),
        ignored=tuple(sorted(ignored)),
        checksum=_checksum(state_dict, loaded),
        prefix=entries.prefix,
    )


def mismatch_hint(poured, left_over, entries):
    """Why a file does not fill a network and what to do, by what is missing and what is spare.

    Args:
      poured: Poured; left_over: names of the file without a place in the network; entries: its
        Entries.
    """
    network = [*poured.loaded, *poured.absent, *poured.misfits]
    ours, theirs = _architecture(network), _architecture(entries.arrays)
    if not poured.loaded and not poured.misfits:
        names = _first(sorted(entries.file_names.values())) or "none"
        return (
            f"the file's names ({names}) are none of this network's: a file of another "
            "architecture, or one that needs other names"
        )
    if ours != theirs:
        return (
            f"the file is of another architecture ({theirs}; this network has {ours}): choose "
            "config.model.backbone as in the file"
        )
    if poured.absent and not poured.misfits and not left_over:
        if all(".running_" in name for name in poured.absent):
            return (
                "the statistics of batch normalisation are not in the file: save "
                "model.state_dict(), which has them"
            )
        return (
            "the rest fits, so the file is incomplete: save all of model.state_dict(), or fetch "
            "it again"
        )
    if list(poured.misfits) == ["conv1.weight"]:
        return "the file is made for another number of image channels, or has another first layer"
    return "another architecture: choose a file of this backbone, in its widths"


def _architecture(names):
    """A residual network in words: how many blocks its stages have, and convolutions a block."""
    blocks, names = {}, set(names)
    for found in filter(None, map(BLOCK.match, names)):
        blocks[found[1]] = max(blocks.get(found[1], 0), int(found[2]) + 1)
    if not blocks:
        return "no residual stages"
    stages = "-".join(str(blocks[stage]) for stage in sorted(blocks))
    convolutions = 3 if any(name.endswith(".conv3.weight") for name in names) else 2
    return f"{stages} blocks of {convolutions} convolutions"


def check_complete(poured, left_over, hint):
    """Refuses a file that fills the network in part, or would fill another one.

    Args:
      poured: its `absent` and `misfits` are what the network asked for in vain.
      left_over: names of the file that have no place in the network.
      hint: what to do.

    Raises:
      WeightsError: one line.
    """
    problems, absent, misfits = (
        [],
        sorted(poured.absent),
        [poured.misfits[name] for name in sorted(poured.misfits)],
    )
    if absent:
        problems.append(f"{len(absent)} entries are missing ({_first(absent)})")
    if misfits:
        problems.append(f"{len(misfits)} have another shape ({misfits[0]})")
    if left_over:
        problems.append(
            f"{len(left_over)} of the file have no place in this network ({_first(left_over)})"
        )
    if problems:
        raise WeightsError(f"{'; '.join(problems)}: {hint}")


def _checksum(state_dict, names):
    checksum = 0
    for name in names:
        checksum = zlib.crc32(
            np.ascontiguousarray(state_dict[name], np.float32).tobytes(), checksum
        )
    return checksum
