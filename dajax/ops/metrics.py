"""Accuracies and intersection over union from a confusion matrix, which counts every row or pixel
once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from dajax.typing import AnyArray, Array, Bool, Int, Integer


def confusion_matrix(
    labels: Int[AnyArray, "*rows"],
    predictions: Int[AnyArray, "*rows"],
    mask: Bool[AnyArray, "*rows"],
    num_classes: int,
) -> Int[Array, "K K"]:
    """Counts [num_classes, num_classes] int32, rows the true class. Entries outside `mask` and
    labels outside of range count nowhere.

    Args:
      labels: int32 [...].
      predictions: int32 [...].
      mask: bool [...].
      num_classes: K.
    """
    valid = mask & (labels >= 0) & (labels < num_classes)
    cell = jnp.where(valid, labels * num_classes + predictions, -1).reshape(-1)
    # Negative indices would wrap around; num_classes^2 is out of bounds and dropped.
    cell = jnp.where(cell < 0, num_classes * num_classes, cell)
    counts = jnp.zeros((num_classes * num_classes,), jnp.int32).at[cell].add(1, mode="drop")
    return counts.reshape(num_classes, num_classes)


def classification_report(
    confusion: Integer[AnyArray, "K K"], class_names: Sequence[str]
) -> dict[str, Any]:
    """Per cent figures of a confusion matrix.

    Args:
      confusion: int [K, K], rows the true class.
      class_names: K names.

    Returns:
      In per cent: {"accuracy": over all images, "mean_class_accuracy": mean recall over the classes
        that have images (VisDA's metric), "per_class": {name: recall, or None without images}}.
        All None where there is no image.
    """
    confusion = np.asarray(confusion, np.int64)
    counts, hits = confusion.sum(1), np.diag(confusion)
    present = counts > 0
    if not present.any():
        return {
            "accuracy": None,
            "mean_class_accuracy": None,
            "per_class": dict.fromkeys(class_names),
        }
    recall = 100.0 * hits / np.maximum(counts, 1)
    return {
        "accuracy": float(100.0 * hits.sum() / counts.sum()),
        "mean_class_accuracy": float(recall[present].mean()),
        "per_class": {
            name: float(recall[i]) if present[i] else None for i, name in enumerate(class_names)
        },
    }


def iou_report(
    confusion: Integer[AnyArray, "K K"],
    class_names: Sequence[str],
    subsets: Mapping[str, Sequence[int]],
) -> dict[str, Any]:
    """Intersection over union in per cent, of a confusion matrix counted over all pixels of all
    images (fast_hist and per_class_iu of AdaptSegNet's compute_iou.py).

    A class that is in neither labels nor predictions is None and left out of every mean; a class
    that is only predicted counts as 0. A subset's mean is over the IoUs of the full matrix, so that
    predictions of left-out classes still count as misses: so are the 16- and 13-class figures for
    SYNTHIA computed.

    Args:
      confusion: int [K, K], rows the true class.
      class_names: K names.
      subsets: {name: class indices}.

    Returns:
      In per cent: {"miou", "iou": {class name: ...}, "pixel_accuracy", "miou_<subset>": ...}; None
        where there is nothing to measure.
    """
    confusion = np.asarray(confusion, np.int64)
    hits = np.diag(confusion)
    union = confusion.sum(1) + confusion.sum(0) - hits
    iou = np.where(union > 0, 100.0 * hits / np.maximum(union, 1), np.nan)

    def mean(values):
        return float(np.nanmean(values)) if np.isfinite(values).any() else None

    pixels = confusion.sum()
    return {
        "miou": mean(iou),
        **{f"miou_{name}": mean(iou[list(classes)]) for name, classes in subsets.items()},
        "pixel_accuracy": float(100.0 * hits.sum() / pixels) if pixels else None,
        "iou": {
            name: float(iou[i]) if union[i] > 0 else None for i, name in enumerate(class_names)
        },
    }
