"""Pretrained backbones from state dicts with torchvision's names.

weight_files.py reads the files; seg_weights.py loads segmenters.
"""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dajax.models.torch_names import BACKBONE, names_of, torch_name, torch_shape, without_prefix
from dajax.models.weight_report import (
    check_complete,
    check_finite,
    make_report,
    mismatch_hint,
)

# Left out on purpose: ImageNet's classes, and torch's counter for cumulative averages.
LEFT_OUT = re.compile(r"fc\.|.*num_batches_tracked$")


def from_torch_resnet(state_dict, params, batch_stats, *, allow_partial=False):
    """Pours a torchvision ResNet into a backbone.

    All domains start from the same normalisation parameters and statistics (CAN,
    model/domain_specific_module.py). A file does not tell in which convolution the stride is
    (torchvision or caffe), nor how images must be prepared: the caller must know both.

    Args:
      state_dict: {torchvision name: array}, kernels [out, in, kh, kw]; names may have a prefix, see
        torch_names.without_prefix.
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
    ignored = {name for name in entries.arrays if LEFT_OUT.match(name)}
    report = make_report(entries, poured, ignored)
    if not allow_partial:
        left_over = [name for name in report.unexpected if BACKBONE.match(name)]
        check_complete(poured, left_over, mismatch_hint(poured, left_over, entries))
    return new_params, new_batch_stats, report


class Poured(NamedTuple):
    """The network's names: `loaded`, `absent` from the file, and `misfits`, {name: the file's shape
    and the network's, in words}.
    """

    loaded: list[str]
    absent: list[str]
    misfits: dict[str, str]


def pour(state_dict, params, batch_stats):
    """Copies every entry that fits into its leaf; other leaves stay as they are.

    Args:
      state_dict: {name as torch_names.torch_name gives it: array in torch's layout}.
      params, batch_stats: trees; not changed.

    Returns:
      (params, batch_stats, Poured).
    """
    poured = Poured([], [], {})

    def fit(path, leaf):
        # path[0] is the number of the tree
        name = torch_name([entry.key for entry in path[1:] if entry.key != "backbone"])
        if name not in state_dict:
            poured.absent.append(name)
            return leaf
        array = _to_layout(path[-1].key, state_dict[name], leaf.shape)
        if array is None:
            poured.misfits[name] = (
                f"{name} is {np.shape(state_dict[name])} in the file,"
                f" {torch_shape(path[-1].key, leaf.shape)} in the network"
            )
            return leaf
        poured.loaded.append(name)
        return jnp.asarray(array)

    return *jax.tree_util.tree_map_with_path(fit, (params, batch_stats)), poured


def _to_layout(leaf, array, leaf_shape):
    """A torch array as this network stores it, the same for all domains; None where the shapes do
    not fit.
    """
    with np.errstate(over="ignore"):  # of 64-bit numbers: check_finite finds them
        array = np.asarray(array, np.float32)
    if array.shape != torch_shape(leaf, leaf_shape):
        return None
    if leaf == "kernel":
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return np.broadcast_to(array, leaf_shape)
