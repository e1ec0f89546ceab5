"""A GTA5 of a few labels, written and opened."""

import numpy as np
import seg_files

from data_pipeline.segmentation.id_png import read_ids
from data_pipeline.segmentation.labels import GTA5
from data_pipeline.segmentation.segmentation_set import SegmentationSet


def make_set(root, labels):
    """labels: {frame: ids of its columns}, three rows each."""
    seg_files.write_gta5(root, {frame: np.tile(ids, (3, 1)) for frame, ids in labels.items()})
    paths = [
        tuple(str(root / kind / f"{frame}.png") for frame in labels)
        for kind in ("images", "labels")
    ]
    return SegmentationSet("gta5", *paths, GTA5, read_ids)
