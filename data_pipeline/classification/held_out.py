"""A share of a target that is measured on and not adapted to."""

import dataclasses

import numpy as np

from data_pipeline.classification.image_set import ImageSet
from data_pipeline.errors import DataError
from data_pipeline.sampling import make_key, permuted


def split(images: ImageSet, share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """(the images to adapt to, those that are held out), each in the order of the set.

    Which are held out depends on the seed and on the number of images alone: no label is looked at.

    Args:
      images: a set of files.
      share: of the images, above 0 and below 1; rounded to a number of images.
      seed: of the choice; not the run's, so that every run measures on the same images.
    Raises: DataError for a set without labels, on which nothing can be measured, and where one of
      the two parts would be empty.
    """
    if not images.has_labels:
        raise DataError(
            f"config.data.held_out={share:g}: {images.name} has no labels to measure with; leave it"
            " out, or sort its images into a folder for each class"
        )
    count = len(images)
    held_out = round(count * share)
    if not 0 < held_out < count:
        raise DataError(
            f"config.data.held_out={share:g}: {held_out} of the {count} images of {images.name};"
            " expected at least one image in either part"
        )
    chosen = permuted(np.arange(held_out), count, make_key(seed, "held out"))
    is_held_out = np.zeros(count, bool)
    is_held_out[chosen] = True
    apart = _part(images, is_held_out)
    # what the reader left out is said once
    apart = dataclasses.replace(apart, name=f"{images.name} (held out)", left_out=())
    return _part(images, ~is_held_out), apart


def _part(images, is_chosen):
    paths = tuple(images.paths[row] for row in np.flatnonzero(is_chosen))
    return dataclasses.replace(images, labels=images.labels[is_chosen], paths=paths)
