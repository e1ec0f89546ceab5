"""Catching TrainIds (0..18 and 255) in place of label ids. Both are small numbers in a PNG: nothing fails, and a network learns rubbish.

The evidence. Label ids 19..34 are signs, lights, vegetation, sky, people and vehicles: hardly a street is without any. And in TrainIds
0 is road, the largest class, and 7 traffic sign, a small one, while in label ids 7 is road and 0 "unlabeled"; and TrainIds call every
void pixel 255, which official label files do not hold. On 250 real TrainIds frames of Cityscapes this tells each one.
"""

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.segmentation_set import SegmentationSet

_NUM_FILES = 8  # looked at when a run starts; a tunnel may fill a frame, not eight frames spread over the set
_MAX_SHARE_OF_255 = 0.01  # leaves room for license plates (id -1), should a tool have drawn them as the byte 255
_MIN_CLASSES = 3  # a label with fewer values, as an all-void one, tells nothing

REMEDY = (
    "these are TrainIds (0..18, 255), expected label ids: use the files named *_labelIds.png, or the labels as downloaded; if they "
    "are ids of your own, read them as data set 'own' with a CSV of the classes")


def looks_like_train_ids(counts: np.ndarray) -> bool:
    """Whether pixel counts by value, integers [256], of one or many label files of Cityscapes' id scheme are those of TrainIds."""
    if counts[19:255].any() or (counts[:19] > 0).sum() < _MIN_CLASSES:
        return False
    return bool(counts[0] > counts[7] or counts[255] > _MAX_SHARE_OF_255 * counts.sum())


def check_first_labels(segmentation_set: SegmentationSet) -> None:
    """Decodes a few labels, spread evenly over a set, before a run starts. A set without labels passes.

    Raises: DataError, naming a file, for TrainIds where label ids are expected, and as SegmentationSet.read_label does.
    """
    if segmentation_set.label_paths is None:
        return
    space, paths = segmentation_set.space, segmentation_set.label_paths
    counts = np.zeros(256, np.int64)
    rows = np.unique(np.linspace(0, len(paths) - 1, _NUM_FILES).round().astype(int))
    for row in rows:
        if space.id_scheme == "cityscapes":
            counts += np.bincount(segmentation_set.read_ids(paths[row]).ravel(), minlength=256)[:256]
    if looks_like_train_ids(counts):
        raise DataError(f"{paths[0]} and others: no value in 19..34 in {len(rows)} labels: {REMEDY}")
    for row in rows:
        segmentation_set.read_label(row)
