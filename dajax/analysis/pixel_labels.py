"""Labels of pixels: how many a set has of each class, and how many pseudo-labels are right."""

import dataclasses

import numpy as np

from dajax.ops import prototypes, pseudo_labels


def class_counts(labels, num_classes):
    """Pixels of each class: int64 [K] of int [...]; numbers outside 0..K-1 count nowhere."""
    labels = np.asarray(labels).reshape(-1).astype(np.int64)
    return np.bincount(labels[(labels >= 0) & (labels < num_classes)], minlength=num_classes)


@dataclasses.dataclass
class Quality:
    """Density and accuracy of one kind of labels, summed over images (BiCL's table 4).

    Attributes:
      given: pixels that have both a true class and a label of this kind; `right`: those whose label
        is the true class; `labelled`: pixels that have a true class.
    """

    given: int = 0
    right: int = 0
    labelled: int = 0

    def add(self, labels, truth, num_classes):
        """Counts images: int [...] twice, numbers outside 0..K-1 for none."""
        labels, truth = np.asarray(labels), np.asarray(truth)
        is_labelled = (truth >= 0) & (truth < num_classes)
        is_given = is_labelled & (labels >= 0) & (labels < num_classes)
        self.labelled += int(is_labelled.sum())
        self.given += int(is_given.sum())
        self.right += int((is_given & (labels == truth)).sum())

    @property
    def density(self):
        """Per cent of the pixels with a true class that have a label; None without such pixels."""
        return 100.0 * self.given / self.labelled if self.labelled else None

    @property
    def accuracy(self):
        """Per cent of the labels that are right; None without labels."""
        return 100.0 * self.right / self.given if self.given else None


def bicl_labels(features, static, source, bias, *, threshold, score, temperature, priority):
    """The kinds of labels that BiCL's table 4 compares, of the same pixels.

    Args:
      features: float32 [N, h, w, D], of target images.
      static: int32 [N, h, w], of the round's files, 255 for none.
      source: (float32 [K, D], bool [K]), prototypes of the source and which classes have one.
      bias: float32 [K, D], the domain's bias of each class, see ops.prototypes.domain_bias.
      threshold, score, temperature, priority: of the stage's config: dynamic.threshold,
        dynamic.score, temperature and priority.

    Returns:
      {"static", "dynamic, uncalibrated", "dynamic, calibrated", "hybrid": int32 [N, h, w]}.
    """

    def dynamic(centers):
        settings = dict(present=source[1], normalize_prototypes=True)
        if score == "cosine":
            scores = prototypes.prototype_similarities(features, centers, **settings)
        else:
            scores = prototypes.soft_assignment(
                features, centers, temperature=temperature, **settings
            )
        return pseudo_labels.dynamic_labels(scores, threshold=threshold)

    calibrated = dynamic(source[0] + bias)
    return {
        "static": static,
        "dynamic, uncalibrated": dynamic(source[0]),
        "dynamic, calibrated": calibrated,
        "hybrid": pseudo_labels.hybrid_labels(calibrated, static, priority=priority),
    }
