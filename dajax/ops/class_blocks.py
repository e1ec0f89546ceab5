"""What a class-aware batch consists of (CAN, Kang et al. 2019)."""

import math
from typing import Any, NamedTuple


class BatchSizes(NamedTuple):
    """What a class-aware batch consists of: classes, and images of each from a source and from the
    target.
    """

    classes: int
    source_per_class: int
    target_per_class: int


def batch_sizes(settings: Any, num_classes: int) -> BatchSizes:
    """What a batch consists of for a data set of so many classes.

    With C of K classes in a batch the loss between classes weighs (C - 1) / (K - 1) against that
    within them; `max_share` keeps that from growing where K is small (ours; the authors draw 10 of
    31 and 6 of 12).

    Args:
      settings: ConfigDict with num_classes, source_per_class, target_per_class, and max_share, of
        the K classes: where num_classes are more than that, the batch has max_share * K of them,
        rounded and two at least, and as many more images of each as keep its size about the same.
        1.0 changes nothing: num_classes that are more than K are padding.
      num_classes: K.
    """
    wanted = settings.num_classes
    classes = min(wanted, max(2, round(settings.max_share * num_classes)))
    if settings.max_share == 1 or classes == wanted:
        return BatchSizes(wanted, settings.source_per_class, settings.target_per_class)
    source, target = (
        math.floor(wanted * per_class / classes + 0.5)
        for per_class in (settings.source_per_class, settings.target_per_class)
    )
    return BatchSizes(classes, source, target)
