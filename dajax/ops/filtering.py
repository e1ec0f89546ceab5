"""Chooses the target images and classes that are aligned (CAN, solver/utils.py: filter_samples,
filter_class).
"""

import numpy as np

from dajax.typing import Bool, Float, Int


def filter_by_distance(
    labels: Int[np.ndarray, " N"],
    distances: Float[np.ndarray, " N"],
    *,
    num_classes: int,
    max_distance: float,
    min_count: int,
) -> tuple[Int[np.ndarray, " N"], Bool[np.ndarray, " C"]]:
    """Drops images far from their centre, then classes with few images left.

    Args:
      labels: int32 [N], class of each image.
      distances: float32 [N], distance to the nearest centre.
      num_classes: C.
      max_distance: D0; an image is kept where its distance is strictly below.
      min_count: N0; a class is kept where at least this many of its images are (the code; the
        paper says "more than").

    Returns:
      kept_labels: int32 [N], the label of every kept image of every kept class, -1 elsewhere.
      kept_classes: bool [C].
    """
    near = distances < max_distance
    counts = np.bincount(labels[near], minlength=num_classes)
    kept_classes = counts >= min_count
    return np.where(near & kept_classes[labels], labels, -1).astype(np.int32), kept_classes
