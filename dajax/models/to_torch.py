"""A network as a torch state dict, the way back from weights.py and seg_weights.py.

Backbones have torchvision's names (ResNets) or the authors' (DeeplabVGG), heads of segmenters
those of AdaptSegNet and CLAN. A classifier's linear head on a ResNet alone is torchvision's "fc";
layers that torchvision does not have keep their names here: "bottleneck.dense.weight".
"""

import jax
import numpy as np

from dajax.models.torch_names import KERNELS, torch_name


def to_torch(params, batch_stats, *, norm_set):
    """The state dict of a network.

    Args:
      params, batch_stats: trees of a Classifier, DeepLab or FCN8s, numpy or JAX, float32.
      norm_set: which set of normalisation parameters and statistics; torch's layers have one.

    Returns:
      {torch name: numpy float32}; kernels [out, in, kh, kw], those of dense layers [out, in].
    """
    names = _names(params, batch_stats)
    return {
        name: _to_torch_layout(leaf, is_kernel=path[-1] in KERNELS, norm_set=norm_set)
        for path, (name, leaf) in names.items()
    }


def from_own(state_dict, params, batch_stats):
    """What `to_torch` gave, as trees shaped like `params` and `batch_stats`; every set of
    normalisation gets the file's one.

    Raises:
      KeyError: an entry is missing.
    """
    names = _names(params, batch_stats)

    def read(path, leaf):
        keys = tuple(entry.key for entry in path[1:])  # path[0] is the number of the tree
        array = np.asarray(state_dict[names[keys][0]], np.float32)
        if keys[-1] in KERNELS:
            array = array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)
        return np.broadcast_to(array, leaf.shape)

    return jax.tree_util.tree_map_with_path(read, (params, batch_stats))


def _names(params, batch_stats):
    """{path of keys: (torch name, leaf)}."""
    has_plain_head = "head" in params and "kernel" in params["head"] and "bottleneck" not in params
    found = {}
    for tree in (params, batch_stats):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            keys = tuple(entry.key for entry in path)
            name = torch_name([key for key in keys if key != "backbone"])
            if has_plain_head and keys[0] == "head":
                name = name.replace("head.", "fc.", 1)
            found[keys] = (name, leaf)
    return found


def _to_torch_layout(leaf, *, is_kernel, norm_set):
    array = np.asarray(leaf, np.float32)
    if is_kernel:
        array = array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)
    elif array.ndim == 2:  # [domains, C]
        array = array[norm_set]
    return np.ascontiguousarray(array)
