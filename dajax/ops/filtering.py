"""Chooses the target images and classes that are aligned: by distance (CAN, solver/utils.py:
filter_samples, filter_class), and by what the network's head says of them (ours).
"""

import numpy as np

from dajax.typing import Bool, Float, Int

MAJORITY = 0.5  # of a cluster's images: from here on the head is said to know its class (ours)


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
    return _of_large_classes(labels, distances < max_distance, num_classes, min_count)


def drop_contradicted(
    kept_labels: Int[np.ndarray, " N"],
    labels: Int[np.ndarray, " N"],
    predictions: Int[np.ndarray, " N"],
    *,
    num_classes: int,
    min_count: int,
) -> tuple[Int[np.ndarray, " N"], Bool[np.ndarray, " C"]]:
    """Drops the images whose head names another class than their cluster (ours).

    It does so in clusters of which the head gives MAJORITY their own class. Of the others the whole
    cluster stays: the head does not know that class yet, and what it says against a cluster is no
    reason. Then classes with few images left go, as in filter_by_distance.

    Args:
      kept_labels: int32 [N], of filter_by_distance.
      labels: int32 [N], class of each image by its cluster.
      predictions: int32 [N], class of each image by the head.
      num_classes: C.
      min_count: N0.

    Returns:
      kept_labels int32 [N] and kept_classes bool [C], as filter_by_distance.
    """
    agreed = labels == predictions
    sizes = np.bincount(labels, minlength=num_classes)
    is_known = np.bincount(labels[agreed], minlength=num_classes) >= MAJORITY * sizes  # [C]
    stays = (kept_labels >= 0) & (agreed | ~is_known[labels])
    return _of_large_classes(labels, stays, num_classes, min_count)


def _of_large_classes(labels, stays, num_classes, min_count):
    """(labels, -1 where an image does not stay or its class has fewer than min_count that do; bool
    [C], the classes that have as many).
    """
    kept_classes = np.bincount(labels[stays], minlength=num_classes) >= min_count
    return np.where(stays & kept_classes[labels], labels, -1).astype(np.int32), kept_classes
