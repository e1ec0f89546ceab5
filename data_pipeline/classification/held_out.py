"""A share of a target that is measured on and not adapted to, or of a source that is not trained
on.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipeline.classification.image_set import ImageSet
from data_pipeline.errors import DataError
from data_pipeline.held_out import held_out_rows
from data_pipeline.sampling import make_key, random_subset


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
    order = make_key(seed, "held out")
    where = dict(key="config.data.held_out", name=images.name)
    is_held_out = np.zeros(len(images), bool)
    is_held_out[held_out_rows(len(images), share, order, **where)] = True
    apart = _part(images, is_held_out)
    # what the reader left out is said once
    apart = dataclasses.replace(apart, name=f"{images.name} (held out)", left_out=())
    return _part(images, ~is_held_out), apart


def split_source(images: ImageSet, share: float, key: str) -> tuple[ImageSet, ImageSet]:
    """(the images to train on, those that are held out), each in the order of the set.

    Of every class the same share is held out, rounded down, so that a class with few images keeps
    them.

    Args:
      images: labelled, of any kind.
      share: of the images, above 0 and below 1.
      key: what the user has set, for messages.
    Raises: DataError where no class has enough images.
    """
    is_held_out = np.zeros(len(images), bool)
    for number in range(len(images.class_names)):
        rows = np.flatnonzero(images.labels == number)
        count = int(len(rows) * share)
        if count:
            order = make_key(0, "held out source", str(number))  # 0: the same in every run
            is_held_out[rows[random_subset(len(rows), count, order)]] = True
    if not is_held_out.any():
        raise DataError(
            f"{key}={share:g}: no class of {images.name} has enough images to hold one out; choose"
            " a larger share, or 0"
        )
    apart = _part(images, is_held_out)
    apart = dataclasses.replace(apart, name=f"{images.name} (held out)", left_out=())
    return _part(images, ~is_held_out), apart


class _Chosen(Sequence):
    """Some rows of a sequence, without copying it."""

    def __init__(self, whole, rows):
        self._whole, self._rows = whole, rows

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, index):
        return self._whole[int(self._rows[index])]


def _part(images, is_chosen):
    rows = np.flatnonzero(is_chosen)
    if images.kind == "paths":
        chosen = {"paths": tuple(images.paths[row] for row in rows)}
    elif images.kind == "images":
        chosen = {"images": images.images[rows]}
    else:
        chosen = {"records": _Chosen(images.records, rows)}
    return dataclasses.replace(images, labels=images.labels[rows], **chosen)
