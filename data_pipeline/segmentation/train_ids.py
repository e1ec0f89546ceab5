"""Catches TrainIds (0..18 and 255) in place of label ids. Both are small numbers in a PNG: nothing
fails, and a network learns rubbish.

The evidence. Label ids 19..34 are signs, lights, vegetation, sky, people and vehicles: hardly a
street is without any. In TrainIds 0 is road, the largest class, and 7 is traffic sign, a small one;
in label ids 7 is road and 0 "unlabeled". TrainIds call every void pixel 255, which official label
files do not hold. On 250 real TrainIds frames of Cityscapes this tells each one.

Labels of void ids alone, such as the placeholders of Cityscapes' test split, give nothing to judge
by. They are recognised first.
"""

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.segmentation.labels import IGNORED, LabelSpace
from data_pipeline.segmentation.segmentation_set import SegmentationSet

# looked at when a run starts; a tunnel may fill a frame, not eight frames spread over the set
_NUM_FILES = 8
# leaves room for license plates (id -1), should a tool have drawn them as the byte 255
_MAX_SHARE_OF_255 = 0.01
_MIN_CLASSES = 3  # a label with fewer values, as an all-void one, tells nothing
# ids 0..6 are the category "void" of cityscapesscripts/helpers/labels.py: unlabeled ... static,
# dynamic, ground
_NUM_VOID = 7
# Cityscapes' gtFine/test holds ids 0..3: unlabeled, ego vehicle, rectification border, out of roi
_NUM_PLACEHOLDERS = 4

REMEDY = (
    "these are TrainIds (0..18, 255), expected label ids: use the files named *_labelIds.png, or"
    " the labels as downloaded; if they are ids of your own, read them as data set 'own' with a CSV"
    " of the classes"
)


def looks_like_train_ids(counts: np.ndarray) -> bool:
    """Whether pixel counts by value, integers [256], of one or many label files of Cityscapes' id
    scheme are those of TrainIds.
    """
    if counts[19:255].any() or (counts[:19] > 0).sum() < _MIN_CLASSES:
        return False
    has_255 = counts[255] > _MAX_SHARE_OF_255 * counts.sum()
    if not has_255 and not counts[_NUM_VOID:19].any():
        # as label ids they are all void; as TrainIds, streets without a plant, a sky or a car
        return False
    return bool(counts[0] > counts[7] or has_255)


def all_ignored(counts: np.ndarray, space: LabelSpace) -> bool:
    """Whether pixel counts by value, integers [256], are of ignored ids of the space alone."""
    return bool(counts.any()) and not counts[~space.is_known | (space.lut != IGNORED)].any()


def describe_all_ignored(name: str, counts: np.ndarray, space: LabelSpace) -> str:
    """One line, to follow a path, on a set with `all_ignored` labels.

    Args:
      name: the set's, such as "cityscapes/test".
      counts: integers [256], its pixels by value.
    """
    data_set, _, split = name.partition("/")
    if data_set == "cityscapes" and not counts[_NUM_PLACEHOLDERS:].any():
        return (
            f"the labels of the {split} split are placeholders: every pixel is ignored; use"
            f" split=val, or remove gtFine/{split} for an unlabelled set"
        )
    found = [f"{entry.id} ({entry.name})" for entry in space.classes if counts[entry.id]]
    files = (
        " (of Cityscapes *_labelIds.png, not TrainIds)" if space.id_scheme == "cityscapes" else ""
    )
    return (
        f"every pixel of every label is ignored, none belongs to a class: ids {', '.join(found)};"
        f" use labels that hold {space.name} ids of classes{files}, or remove the folder of labels"
        " for an unlabelled set"
    )


def check_first_labels(segmentation_set: SegmentationSet) -> None:
    """Decodes a few labels, spread evenly over a set, before a run starts. A set without labels
    passes.

    Where these ignore every pixel, further ones are read up to the first that does not.

    Raises: DataError, naming a file, for TrainIds where label ids are expected, for labels that
      ignore every pixel, and as SegmentationSet.read_label does.
    """
    if segmentation_set.label_paths is None:
        return
    space, paths = segmentation_set.space, segmentation_set.label_paths
    counts = np.zeros(256, np.int64)
    rows = np.unique(np.linspace(0, len(paths) - 1, _NUM_FILES).round().astype(int))
    for row in rows:
        counts += _values(segmentation_set, row)
    if space.id_scheme == "cityscapes" and looks_like_train_ids(counts):
        raise DataError(
            f"{paths[0]} and others: no value in 19..34 in {len(rows)} labels: {REMEDY}"
        )
    for row in rows:
        segmentation_set.read_label(row)
    for row in range(len(paths)):
        if not all_ignored(counts, space):
            return
        counts += _values(segmentation_set, row)
    if all_ignored(counts, space):
        raise DataError(
            f"{paths[0]} and all others:"
            f" {describe_all_ignored(segmentation_set.name, counts, space)}"
        )


def _values(segmentation_set, row) -> np.ndarray:
    """int64 [256], the pixels of a label by value; values above 255 are left to read_label."""
    return np.bincount(
        segmentation_set.read_ids(segmentation_set.label_paths[row]).ravel(), minlength=256
    )[:256]
