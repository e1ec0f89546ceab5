"""A share of a source that is not trained on."""

import numpy as np

from data_pipeline.held_out import held_out_rows
from data_pipeline.sampling import make_key
from data_pipeline.segmentation.segmentation_set import SegmentationSet


def split_source(
    images: SegmentationSet, share: float, key: str
) -> tuple[SegmentationSet, SegmentationSet]:
    """(the images to train on, those that are held out), each in the order of the set.

    Args:
      images: a set of files.
      share: of the images, above 0 and below 1; rounded to a number of images.
      key: what the user has set, for messages.
    Raises: DataError where one of the two parts would be empty.
    """
    order = make_key(0, "held out source")  # 0: the same in every run
    chosen = held_out_rows(len(images), share, order, key=key, name=images.name)
    kept = np.setdiff1d(np.arange(len(images)), chosen)
    return images.chosen(kept, images.name), images.chosen(chosen, f"{images.name} (held out)")
