"""The names and shapes of a network's parameters in torch's state dicts, and prefixes of a file's
names.
"""

import collections
import re
from typing import NamedTuple

import jax

from dajax.models.weight_files import WeightsError

# {module here: module in torchvision} where the names differ. Elsewhere "layer1_0" is "layer1.0",
# and other names are equal.
SHORTCUT_MODULES = {"downsample_conv": "downsample.0", "downsample_bn": "downsample.1"}
KERNELS = ("kernel", "direction")  # [in, out] here; the second is a weight-normalised layer's
LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
# Names of a residual network's backbone.
BACKBONE = re.compile(r"(conv1|bn1|layer[1-4])\.")
# A prefix must lead to this fraction of the network's names. By chance a few names agree: the first
# norm and convolution of a block are called like the network's own, 5 of the 75 names of the
# smallest backbone. A real prefix leads to all names, or to a fifth where the file holds a far
# shallower network.
MIN_PREFIX_FRACTION = 1 / 8


def torch_name(path):
    """The torch name of a leaf of the network, from the keys on its path.

    ("layer1_0", "downsample_bn", "scale") -> "layer1.0.downsample.1.weight";
    ("layer5", "conv2d_list_0", "bias") -> "layer5.conv2d_list.0.bias".
    """
    *modules, leaf = path
    names = [SHORTCUT_MODULES.get(key, re.sub(r"_(\d+)$", r".\1", key)) for key in modules]
    return ".".join([*names, LEAVES.get(leaf, leaf)])


def torch_shape(leaf, leaf_shape):
    """The shape that torch has for a leaf of this name: HWIO -> OIHW; a dense kernel [in, out] ->
    [out, in]; a normalisation's [domains, C] -> [C]; others have the same in both.
    """
    if len(leaf_shape) == 4:
        return tuple(leaf_shape[axis] for axis in (3, 2, 0, 1))
    if len(leaf_shape) == 2:
        return tuple(leaf_shape[::-1] if leaf in KERNELS else leaf_shape[1:])
    return tuple(leaf_shape)


def names_of(*trees):
    """The torch names of the leaves of parameters or statistics."""
    paths = (path for tree in trees for path, _ in jax.tree_util.tree_leaves_with_path(tree))
    return {torch_name([entry.key for entry in path if entry.key != "backbone"]) for path in paths}


class Entries(NamedTuple):
    """A file's entries under the names that the network has for them.

    Attributes:
      arrays: {name: array in torch's layout}.
      file_names: {name: the file's own name}.
      prefix: what was taken off.
    """

    arrays: dict
    file_names: dict[str, str]
    prefix: str


def without_prefix(state_dict, wanted):
    """The file's Entries, without the prefix that its names of the network have, such as "module."
    or "backbone.".

    The prefix is the one that leads to most names of `wanted`. A name that has only the beginning
    of the prefix ("module.classifier" beside "module.backbone.") loses that beginning.

    Args:
      state_dict: {name: array}.
      wanted: set of the torch names of the network's backbone.

    Returns:
      Entries.

    Raises:
      WeightsError: several prefixes lead to equally many: the file holds several networks.
    """
    found = collections.Counter()
    for name in state_dict:
        parts = name.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in wanted:
                found["".join(f"{part}." for part in parts[:i])] += 1
    most = max(found.values(), default=0)
    best = sorted(prefix for prefix, count in found.items() if count == most)
    if most < MIN_PREFIX_FRACTION * len(wanted) or "" in best:
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
    # Names with the whole prefix come last, so that no other name replaces them.
    for name in sorted(state_dict, key=lambda name: name.startswith(prefix)):
        beginning = next(beginning for beginning in beginnings if name.startswith(beginning))
        file_names[name.removeprefix(beginning)] = name
    arrays = {name: state_dict[file_name] for name, file_name in file_names.items()}
    return Entries(arrays, file_names, prefix)
