"""Which target images and classes are trusted enough to be aligned (CAN, solver/utils.py:
filter_samples, filter_class).
"""

import numpy as np


def filter_by_distance(labels, distances, *, num_classes, max_distance, min_count):
    """Drops images far from their centre, then classes with few images left.

    Args:
      labels: int32 [N], class of each image.
      distances: float32 [N], distance to the nearest centre.
      num_classes: C.
      max_distance: D0; an image is kept iff its distance is strictly below.
      min_count: N0; a class is kept iff at least this many of its images are ("more than" in the
        paper, "at least" in the code).

    Returns:
      kept_labels: int32 [N], the label of every kept image of every kept class, -1 elsewhere.
      kept_classes: bool [C].
    """
    near = distances < max_distance
    counts = np.bincount(labels[near], minlength=num_classes)
    kept_classes = counts >= min_count
    return np.where(near & kept_classes[labels], labels, -1).astype(np.int32), kept_classes
