"""The street sets whose labels are read in Cityscapes' 19 classes, in their folders as downloaded.

    acdc         rgb_anon/<condition>/<split>/<sequence>/<frame>_rgb_anon.png
                 gt/<condition>/<split>/<sequence>/<frame>_gt_labelIds.png
    dark_zurich  rgb_anon/<split>/<time>/<sequence>/<frame>_rgb_anon.png
                 gt/<split>/<time>/<sequence>/<frame>_gt_labelIds.png
    bdd100k      images/10k/<split>/<frame>.jpg, labels/sem_seg/masks/<split>/<frame>.png; or the
                 first release, seg/images/<split> and seg/labels/<split>/<frame>_train_id.png
    idd          leftImg8bit/<split>/<drive>/<frame>_leftImg8bit.png, or .jpg
                 gtFine/<split>/<drive>/<frame>_gtFine_polygons.json
    mapillary    <split>/images/<frame>.jpg, <split>/labels/<frame>.png, or <split>/v1.2/labels
    camvid       701_StillsRaw_full/<frame>.png, LabeledApproved_full/<frame>_L.png, in colours

A split is a folder's name. Of ACDC "night/train" is one condition, "train" all four; of Dark Zurich
"train" and "val" are those at night. CamVid has one folder; its splits are those of SegNet
(Badrinarayanan et al.), as the lists of mseg-api have them: "train", "val", "test", "" for all.
"""

import functools
import pathlib
import re
from collections.abc import Callable
from typing import NamedTuple

from data_pipeline.errors import DataError
from data_pipeline.files.names import check_below, is_folder
from data_pipeline.preprocess import IMAGE_ENDINGS
from data_pipeline.segmentation import street_spaces as spaces
from data_pipeline.segmentation.color_labels import read_ids_or_colors
from data_pipeline.segmentation.id_png import read_ids
from data_pipeline.segmentation.id_polygons import polygon_label_hw, read_polygon_ids
from data_pipeline.segmentation.labels import CITYSCAPES, LabelSpace
from data_pipeline.segmentation.layouts import Listing
from data_pipeline.segmentation.trees import Tree, list_trees, parse_pattern

CONDITIONS = ("fog", "night", "rain", "snow")  # of ACDC


class _StreetSet(NamedTuple):
    """How a set lies on disk.

    Attributes:
      trees: (root, split) -> its folders.
      image_name, label_name: patterns, see trees; the label's by (root, split).
      companion: see trees.list_trees.
      splits: that messages name.
      space: of its 19 classes.
    """

    trees: Callable[[pathlib.Path, str], list[Tree]]
    image_name: str
    label_name: Callable[[pathlib.Path], str]
    companion: str
    splits: str
    space: LabelSpace


def _acdc(root, split):
    del root
    places = [split] if "/" in split else [f"{condition}/{split}" for condition in CONDITIONS]
    return [Tree(f"rgb_anon/{place}", f"gt/{place}") for place in places]


def _dark_zurich(root, split):
    del root
    place = split if "/" in split else f"{split}/night"
    return [Tree(f"rgb_anon/{place}", f"gt/{place}")]


def _is_first_bdd100k(root):
    return is_folder(root / "seg")


def _bdd100k(root, split):
    if _is_first_bdd100k(root):
        return [Tree(f"seg/images/{split}", f"seg/labels/{split}")]
    return [Tree(f"images/10k/{split}", f"labels/sem_seg/masks/{split}")]


def _idd(root, split):
    del root
    return [Tree(f"leftImg8bit/{split}", f"gtFine/{split}")]


def _mapillary(root, split):
    # of release 2.0, which holds the labels of 1.2 beside its own
    inner = "v1.2/labels" if is_folder(root / split / "v1.2") else "labels"
    return [Tree(f"{split}/images", f"{split}/{inner}")]


def _camvid(root, split):
    del root, split
    return [Tree("701_StillsRaw_full", "LabeledApproved_full")]


_SETS = {
    "acdc": _StreetSet(
        _acdc,
        "NAME_rgb_anon.png",
        lambda root: "NAME_gt_labelIds.png",
        "_gt_",
        "train, val, test, or of one condition night/train",
        CITYSCAPES,
    ),
    "dark_zurich": _StreetSet(
        _dark_zurich,
        "NAME_rgb_anon.png",
        lambda root: "NAME_gt_labelIds.png",
        "_gt_",
        "train, val, or with the time of day train/twilight",
        CITYSCAPES,
    ),
    "bdd100k": _StreetSet(
        _bdd100k,
        "NAME.jpg",
        lambda root: "NAME_train_id.png" if _is_first_bdd100k(root) else "NAME.png",
        "",
        "train, val or test",
        spaces.BDD100K,
    ),
    "idd": _StreetSet(
        _idd,
        "NAME_leftImg8bit",
        lambda root: "NAME_gtFine_polygons.json",
        "_gtFine_",
        "train, val or test",
        spaces.IDD,
    ),
    "mapillary": _StreetSet(
        _mapillary,
        "NAME.jpg",
        lambda root: "NAME.png",
        "",
        "training, validation or testing",
        spaces.MAPILLARY,
    ),
    "camvid": _StreetSet(
        _camvid,
        "NAME.png",
        lambda root: "NAME_L.png",
        "",
        "train, val, test, or '' for all",
        spaces.CAMVID,
    ),
}
NAMES = tuple(_SETS)
_READERS = {
    "idd": read_polygon_ids,
    "camvid": functools.partial(read_ids_or_colors, space=spaces.CAMVID),
}
_CAMVID_SPLITS = ("", "train", "val", "test")
# Of SegNet's lists: the first half of 0001TP is for training, the dense frames of 0016E5 validate.
_FIRST_TEST_FRAME, _DENSE_FRAMES = 8550, range(7959, 8160)


def street_space(name: str, has_16_classes: bool) -> LabelSpace:
    """What the labels of one of NAMES mean; of SYNTHIA's 16 classes in place of Cityscapes' 19."""
    space = _SETS[name].space
    return spaces.with_16_classes(space) if has_16_classes else space


def list_street_set(
    name: str, root: pathlib.Path, split: str, has_16_classes: bool, where: str
) -> Listing:
    """The files of one of NAMES.

    Args:
      split: see the module.
      has_16_classes: SYNTHIA's 16 in place of Cityscapes' 19.
      where: what messages call the config.
    Raises: DataError for an unknown split of CamVid, and as trees.list_trees.
    """
    check_below(split, f"{where}.split")
    split, found = split.strip("/"), _SETS[name]
    if not split and name != "camvid":
        raise DataError(f"{where}.split is ''; expected a split of {name}: {found.splits}")
    if name == "camvid" and split not in _CAMVID_SPLITS:
        raise DataError(f"{where}.split is {split!r}; expected {found.splits}")
    image_name = parse_pattern(found.image_name, IMAGE_ENDINGS, f"{where}.image_name")
    label_name = parse_pattern(found.label_name(root), (".png", ".json"), f"{where}.label_name")
    listing = list_trees(
        f"{name}/{split}" if split else name,
        root,
        found.trees(root, split),
        image_name,
        label_name,
        street_space(name, has_16_classes),
        where,
        expected=f"{name} is read as downloaded, and its splits ({where}.split) are {found.splits}",
        is_of_the_split=_camvid_rule(split) if name == "camvid" else lambda frame: True,
        companion=found.companion,
        label_reader=_READERS.get(name, read_ids),
    )
    return listing._replace(label_hw=polygon_label_hw) if name == "idd" else listing


def _camvid_rule(split) -> Callable[[str], bool]:
    """Whether a frame, "0016E5_07959", is of a split."""
    return lambda frame: not split or _camvid_split(frame) == split


def _camvid_split(frame):
    sequence, _, number = frame.partition("_")
    number = int(re.sub(r"\D", "", number) or 0)
    if sequence == "Seq05VD" or (sequence == "0001TP" and number >= _FIRST_TEST_FRAME):
        return "test"
    return "val" if sequence == "0016E5" and number in _DENSE_FRAMES else "train"
