"""Pretrained segmenters: backbones, and the released checkpoints of AdaptSegNet, CLAN and PLCA;
mit_weights.py has those of MiT, vit_weights.py those of vision transformers.
"""

import re

import numpy as np

from dajax.models.mit_weights import from_torch_mit
from dajax.models.torch_names import BACKBONE, Entries, names_of, without_prefix
from dajax.models.vit_weights import from_torch_vit
from dajax.models.weight_files import WeightsError
from dajax.models.weight_report import (
    check_complete,
    check_finite,
    make_report,
    mismatch_hint,
)
from dajax.models.weights import LEFT_OUT, pour

# {a module that every encoder of the family has: its reader}
OTHER_FAMILIES = {"patch_embed1": from_torch_mit, "patch_embed": from_torch_vit}
INITIAL_CLASSES = 21  # of DeepLab's initial weights, COCO's in VOC's classes
HEAD = re.compile(r"layer[56]\.|score_|decode_head\.")
VGG_LAYER = re.compile(r"features\.|fc[67]\.")
# (name in the file, name here) of heads: PLCA's, and that of AdaptSegNet's DeeplabVGG.
RENAMED = (
    (r"^classifier\.0\.convs\.(\d)\.0\.", r"layer5.conv2d_list.\1."),
    (r"^classifier\.conv2d_list\.", "layer5.conv2d_list."),
)
# (number in torchvision's vgg16.features, number here): DeeplabVGG leaves out the poolings 23 and
# 30.
UNPOOLED = {24: 23, 26: 25, 28: 27}
# Layers of torchvision's vgg16 that FCN8s has as convolutions: (name here, kernel size).
FULLY_CONNECTED = {"classifier.0": ("fc6", 7), "classifier.3": ("fc7", 1)}
# PLCA's class i is this Cityscapes train id: sky, building, road, ... With SYNTHIA it has the first
# 16. tests/golden/plca_data.npz holds the maps of PLCA's data loaders.
PLCA_TRAIN_IDS = (10, 2, 0, 1, 4, 8, 5, 13, 7, 11, 18, 17, 6, 12, 15, 3, 9, 14, 16)


def from_torch_segmenter(state_dict, params, batch_stats, *, skip_heads=False, allow_partial=False):
    """Pours a file into a segmenter: a backbone alone (torchvision's ResNets and vgg16,
    DeepLab_resnet_pretrained_init; see mit_weights for MiT), or a whole segmenter.

    Heads stay as they are where the file has none, and where it is DeepLab's initial weights, whose
    heads are for COCO's 21 classes. The classes of PLCA's head are put into the order of train ids.
    A file does not tell how images must be prepared, nor for which topology (caffe, torchvision)
    its weights were trained: the caller must know both.

    Args:
      state_dict: {torch name: array}, see weight_files.load_torch_file; names may have a prefix,
        see torch_names.without_prefix.
      params, batch_stats: trees of a segmenter, for names and shapes; not changed.
      skip_heads: take the backbone only.
      allow_partial: keep what the file lacks or has in another shape as it is, instead of refusing.

    Returns:
      (params, batch_stats, Report). Its names are the network's, and its checksum is of the arrays
        as they were loaded.

    Raises:
      WeightsError: entries are missing, of another shape, not finite, or left over from another
        network.
    """
    choices = dict(skip_heads=skip_heads, allow_partial=allow_partial)
    for module, read in OTHER_FAMILIES.items():
        if module in params.get("backbone", ()):
            return read(state_dict, params, batch_stats, **choices)
    whole = _canonical(state_dict, names_of(params, batch_stats))
    entries = whole.arrays
    ignored = {name for name in entries if LEFT_OUT.match(name) or name.startswith("classifier.")}
    heads = {name for name in entries if HEAD.match(name)}
    # DeepLab_resnet_pretrained_init, and the same weights without its prefix (DACS)
    is_initial = whole.prefix.endswith("Scale.") or all(
        len(entries[name]) == INITIAL_CLASSES for name in heads
    )
    new_params, new_batch_stats, poured = pour(entries, params, batch_stats)
    if skip_heads or (is_initial and any(HEAD.match(name) for name in poured.misfits)):
        ignored |= heads
        new_params, new_batch_stats, poured = pour(
            {name: entries[name] for name in entries.keys() - heads}, params, batch_stats
        )
    check_finite(whole, poured.loaded)
    report = make_report(whole, poured, ignored)
    if not allow_partial:
        may_lack = _may_lack(entries, has_heads=bool(heads - ignored))
        left_over = [
            name
            for name in report.unexpected
            if any(pattern.match(name) for pattern in (BACKBONE, HEAD, VGG_LAYER))
        ]
        needed = poured._replace(absent=[name for name in poured.absent if not may_lack(name)])
        check_complete(needed, left_over, _hint(needed, left_over, whole))
    return new_params, new_batch_stats, report


def _canonical(state_dict, wanted):
    """The file's Entries under the network's names, PLCA's classes in the order of train ids."""
    found = without_prefix(state_dict, {name for name in wanted if not HEAD.match(name)})
    arrays, file_names = {}, {}
    for name, array in found.arrays.items():
        new_name = name
        for pattern, replacement in RENAMED:
            new_name = re.sub(pattern, replacement, new_name)
        is_plca_head = ".convs." in name and new_name.startswith("layer5.")
        array = _train_id_order(array) if is_plca_head else array
        if "fc6.weight" in wanted:
            new_name, array = _convolutional(new_name, array)
        elif "features.29.weight" in wanted and "features.24.weight" in found.arrays:
            new_name = _without_pooling(new_name)
        arrays[new_name], file_names[new_name] = array, found.file_names[name]
    return Entries(arrays, file_names, found.prefix)


def _train_id_order(array):
    """[K, ...] in PLCA's order of classes -> the same in the order of their train ids.

    Raises:
      WeightsError: another number of classes than PLCA's tasks have.
    """
    if len(array) not in (16, 19):
        raise WeightsError(
            f"PLCA's head has {len(array)} classes in the file, expected 19 (GTA5) or 16 (SYNTHIA):"
            " choose one of its checkpoints"
        )
    return np.asarray(array)[np.argsort(PLCA_TRAIN_IDS[: len(array)])]


def _without_pooling(name):
    """The name in DeeplabVGG of an entry of torchvision's vgg16."""
    found = re.match(r"features\.(\d+)\.(\w+)", name)
    if found is None:
        return name
    number = int(found[1])
    return f"features.{UNPOOLED.get(number, number)}.{found[2]}"


def _convolutional(name, array):
    """torchvision's first two fully connected layers as fc6 (7x7) and fc7 (1x1)."""
    layer, _, leaf = name.rpartition(".")
    if layer not in FULLY_CONNECTED:
        return name, array
    new_layer, kernel_size = FULLY_CONNECTED[layer]
    if leaf == "weight":
        # torch flattens [C, h, w] in this order
        array = np.reshape(array, (len(array), -1, kernel_size, kernel_size))
    return f"{new_layer}.{leaf}", array


def _may_lack(entries, *, has_heads):
    """A function of a name: whether the file may lack it and the network keep its own. So it is
    with heads where the file has none, and with DeeplabVGG's fc6 and fc7 where the file is
    torchvision's.
    """
    is_plain_vgg = "features.0.weight" in entries and "features.29.weight" not in entries

    def check(name):
        return (HEAD.match(name) and not has_heads) or (
            is_plain_vgg and re.match(r"features\.(29|31)\.", name)
        )

    return check


def _hint(poured, left_over, entries):
    """What to do about a file that does not fit; arguments as weights.mismatch_hint."""
    names = [*poured.absent, *poured.misfits, *left_over]
    if all(HEAD.match(name) for name in names):
        if all(name.endswith(".bias") for name in names):
            return f"set config.model.head_bias={bool(left_over)}"
        return (
            "only heads differ: choose config.model.heads as in the file, or"
            " config.model.skip_heads=True to keep fresh ones"
        )
    return mismatch_hint(poured, left_over, entries)
