"""A share of a source that is not trained on."""

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.sampling import make_key, random_subset
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
    count = len(images)
    held_out = round(count * share)
    if not 0 < held_out < count:
        raise DataError(
            f"{key}={share:g}: {held_out} of the {count} images of {images.name}; expected at least"
            " one image in either part"
        )
    # 0: the same in every run
    chosen = random_subset(count, held_out, make_key(0, "held out source"))
    kept = np.setdiff1d(np.arange(count), chosen)
    return images.chosen(kept, images.name), images.chosen(chosen, f"{images.name} (held out)")
