"""Class-aware sampling: batches that hold the same classes from both domains.

Source: CAN (Kang et al. 2019) and its code, data/class_aware_dataset_dataloader.py and
data/categorical_dataset.py.
"""

import dataclasses
import math

import numpy as np

from data_pipeline.sampling import permuted, random_words, subkey


@dataclasses.dataclass(frozen=True)
class RowsByClass:
    """The rows of a set grouped by class; rows labelled -1 are in no group."""

    order: np.ndarray  # int64 [N], all rows sorted by label
    starts: np.ndarray  # int64 [K], where each class begins in `order`
    counts: np.ndarray  # int64 [K]

    @classmethod
    def from_labels(cls, labels: np.ndarray, num_classes: int) -> "RowsByClass":
        order = np.argsort(labels, kind="stable")
        bounds = np.searchsorted(labels[order], np.arange(num_classes + 1))
        return cls(order, bounds[:-1], np.diff(bounds))

    def draw(self, classes: np.ndarray, per_class: int, words: np.ndarray) -> np.ndarray:
        """Distinct random rows of each class: int64 [C * per_class], class after class, -1 where a
        class has too few.

        Floyd's algorithm (Bentley and Floyd 1987), all classes at once: every subset is equally
        likely, and the cost does not depend on the size of a class.

        Args:
          classes: int64 [C] class ids, -1 for none.
          per_class: rows wanted of each.
          words: uint64 [C, per_class] random words.
        """
        counts = np.where(classes >= 0, self.counts[classes], 0)
        wanted = np.minimum(counts, per_class)
        words = (words >> np.uint64(1)).astype(np.int64)
        chosen = np.full((len(classes), per_class), -1, np.int64)
        for i in range(per_class):
            last = counts - wanted + i
            candidate = words[:, i] % (last + 1)
            is_taken = (chosen[:, :i] == candidate[:, None]).any(axis=1)
            chosen[:, i] = np.where(i < wanted, np.where(is_taken, last, candidate), -1)
        rows = self.order[np.maximum(self.starts[classes][:, None] + chosen, 0) % len(self.order)]
        return np.where(chosen >= 0, rows, -1).ravel()  # [C * per_class]


@dataclasses.dataclass(frozen=True)
class ClassAwareSampler:
    """Which classes and rows each step of a training loop uses; a pure function of the step.

    kept_classes: int64 [K'] ids of the classes that take part.
    num_selected: classes in a batch, C; with fewer kept classes the rest of a batch is padding.
    source_per_class, target_per_class: images of a class in a batch.
    update_fraction: the part of a loop that is executed (the authors' UPDATE_EPOCH_PERCENTAGE).
    """

    sources: tuple[RowsByClass, ...]
    target: RowsByClass
    kept_classes: np.ndarray
    num_selected: int
    source_per_class: int
    target_per_class: int
    update_fraction: float

    @classmethod
    def from_labels(
        cls,
        source_labels,
        target_labels,
        is_kept,
        *,
        num_selected: int,
        source_per_class: int,
        target_per_class: int,
        update_fraction: float,
    ) -> "ClassAwareSampler":
        """Groups the rows of every domain.

        Args:
          source_labels: integers [Ns] for each source.
          target_labels: integers [Nt], pseudo-labels; -1 marks a filtered-out image.
          is_kept: bool [K], classes that take part.
        """
        num_classes = len(is_kept)
        return cls(
            tuple(
                RowsByClass.from_labels(np.asarray(labels), num_classes) for labels in source_labels
            ),
            RowsByClass.from_labels(np.asarray(target_labels), num_classes),
            np.flatnonzero(is_kept),
            num_selected,
            source_per_class,
            target_per_class,
            update_fraction,
        )

    @property
    def num_batches(self) -> int:
        """Batches in a whole loop: ceil(sum over classes of max(floor(#src/bs), floor(#tgt/bt)) /
        classes in a batch).

        bs and bt are the batch sizes, or the class's size where that is smaller; of several sources
        the longest counts. 0 when no class is kept.
        """
        if not len(self.kept_classes):
            return 0
        most = _full_batches(self.target.counts[self.kept_classes], self.target_per_class)
        for source in self.sources:
            most = np.maximum(
                most, _full_batches(source.counts[self.kept_classes], self.source_per_class)
            )
        return math.ceil(int(most.sum()) / self._classes_per_batch)

    def iterations(self, when_no_class_is_kept: int) -> int:
        """Steps of the loop to execute: ceil(num_batches * update_fraction), or the given number
        when no class is kept.
        """
        if not len(self.kept_classes):
            return when_no_class_is_kept
        return math.ceil(self.num_batches * self.update_fraction)

    def rows(self, step_in_loop: int, key: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """The rows of one step; any step can be asked for, also beyond the loop.

        Args:
          step_in_loop: 0-based step.
          key: of this loop, so that each loop draws anew.
        Returns:
          Rows of each source, int64 [C * source_per_class]; rows of the target, int64
            [C * target_per_class]; all class after class in the same order; and the class ids,
            int64 [C]. -1 pads: missing classes, and the images that a class has too few of.
        """
        classes = self._classes(step_in_loop, key)
        in_sources = len(self.sources) * self.source_per_class
        per_class = in_sources + self.target_per_class
        words = random_words(step_in_loop, self.num_selected * per_class, key).reshape(
            self.num_selected, per_class
        )
        source_words = np.split(words[:, :in_sources], len(self.sources), axis=1)
        drawn = [
            source.draw(classes, self.source_per_class, own)
            for source, own in zip(self.sources, source_words, strict=True)
        ]
        return (
            drawn,
            self.target.draw(classes, self.target_per_class, words[:, in_sources:]),
            classes,
        )

    @property
    def _classes_per_batch(self) -> int:
        return min(self.num_selected, len(self.kept_classes))

    def _classes(self, step_in_loop, key) -> np.ndarray:
        """Classes of a step, int64 [C]: drawn without replacement; a pass drops the classes that
        fill no batch.
        """
        classes = np.full(self.num_selected, -1, np.int64)
        num_kept, in_batch = len(self.kept_classes), self._classes_per_batch
        if num_kept:
            pass_number, batch = divmod(step_in_loop, num_kept // in_batch)
            positions = batch * in_batch + np.arange(in_batch)
            classes[:in_batch] = self.kept_classes[
                permuted(positions, num_kept, subkey(key, pass_number))
            ]
        return classes


def _full_batches(counts, per_class):
    """floor(count / batch), int64 [K']; a class smaller than the batch is one batch, an empty one
    none.
    """
    return counts // np.maximum(np.minimum(counts, per_class), 1)
