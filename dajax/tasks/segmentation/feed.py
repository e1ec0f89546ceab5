"""The engine's view of segmentation data: what a method asks for its batches.

The labels of the target leave this file through `evaluation`, which only evaluate_segmentation.py
calls, and for an oracle stage.
"""

import contextlib
import dataclasses

from dajax import console, parallel
from dajax.errors import UserError
from data_pipeline import sampling
from data_pipeline.segmentation import pseudo_label_files
from data_pipeline.segmentation.segmentation_set import image_size_hw

PSEUDO_LABELS = "pseudo_labels"  # folder below a stage's directory


class SegFeed:
    """Source, target and evaluation images, their transforms, and the one seed that all randomness
    of the data comes from.

    Args:
      domains: tasks.common.Domains; transforms "source", "target" and "evaluation".
      seed: of the run. stage: its name, so that every stage draws other batches. devices: that
        batches are made for.
      directory: of the stage; pseudo-labels lie in it, or in that of another stage beside it.
      is_oracle: this stage may train on the target's labels.
      check_stop: called between two batches of a pass; may raise StopRequested.
    """

    def __init__(
        self, domains, *, seed, stage, directory, devices, is_oracle, check_stop=lambda: None
    ):
        self._labelled = {"source": domains.source} | (
            {"target": domains.target} if is_oracle else {}
        )
        self.sets = {"source": domains.source, "target": domains.target.without_labels()}
        self.devices = devices
        self.class_names, self.space = domains.class_names, domains.evaluation.space
        self._evaluation_set, self._transforms, self._target = (
            domains.evaluation,
            domains.transforms,
            domains.target,
        )
        self._seed, self._stage, self._directory, self._check_stop = (
            seed,
            stage,
            directory,
            check_stop,
        )

    def _key(self, *names):
        return sampling.make_key(self._seed, self._stage, *names)

    def _shuffled(self, image_set, domain, batch_size, accumulate, with_labels, transform=None):
        from data_pipeline.segmentation.pipeline import (
            SegPart,  # TensorFlow is needed from here on only
        )

        parallel.check_divides(batch_size, len(self.devices), f"config.{self._stage}.batch_size")
        count, order, num_rows = (
            len(image_set),
            self._key(domain, "shuffled"),
            batch_size * accumulate,
        )
        return SegPart(
            image_set=image_set,
            rows=lambda step: sampling.random_rows(step, num_rows, count, order),
            transform=self._transforms[transform or domain],
            key=self._key(domain, "views"),
            with_labels=with_labels,
        )

    def shuffled(self, domain, batch_size, accumulate=1):
        """Batches of `accumulate` micro-batches of `batch_size` images without labels, without
        replacement within an epoch.

        Raises:
          UserError: a micro-batch does not divide over the devices.
        """
        return self._shuffled(self.sets[domain], domain, batch_size, accumulate, with_labels=False)

    def shuffled_with_labels(self, domain, batch_size, accumulate=1, transform=""):
        """The same with labels.

        Args:
          transform: key of config.data.transforms; "" for that of the domain.

        Raises:
          UserError: the domain's labels are not for training, or it has none; there is no such
            transform.
        """
        if domain not in self._labelled:
            raise UserError(
                f"{self._stage}: the labels of '{domain}' are not for training; only an oracle"
                " stage (domain='target') sees the target's"
            )
        if self._labelled[domain].label_paths is None:
            raise UserError(
                f"{self._stage}: {self._labelled[domain].name} has no labels to train on"
            )
        self._check_transform(transform or domain)
        return self._shuffled(
            self._labelled[domain],
            domain,
            batch_size,
            accumulate,
            with_labels=True,
            transform=transform,
        )

    def class_balanced(self, batch_size):
        """Batches of labelled source images with rare classes drawn more often (SPCL), see
        data_pipeline.segmentation.class_balanced.
        """
        from data_pipeline.segmentation import class_balanced

        part, images = (
            self._shuffled(self._labelled["source"], "source", batch_size, 1, with_labels=True),
            self._labelled["source"],
        )
        counter = console.Counter(f"{self._stage}: looking for the classes of each source image")
        present = class_balanced.classes_present(
            images, cache=self._directory.parent / "source_classes.json", progress=counter.update
        )
        counter.close()
        key = self._key("source", "class balanced")
        return dataclasses.replace(
            part, rows=lambda step: class_balanced.rows(step, batch_size, present, key)
        )

    def with_pseudo_labels(self, batch_size, labels_from, transform="target"):
        """Batches of target images with the labels that the stage `labels_from` has made for them.

        Args:
          transform: key of config.data.transforms.

        Raises:
          UserError: that stage has made none, or there is no such transform.
        """
        self._check_transform(transform)
        folder = self._directory.parent / labels_from / PSEUDO_LABELS
        if not folder.is_dir():
            raise UserError(
                f"config.{self._stage}.labels_from='{labels_from}': no pseudo-labels in {folder};"
                " name a stage of method pseudo_labels"
            )
        made = pseudo_label_files.read(folder, self.sets["target"])
        return self._shuffled(made, "target", batch_size, 1, with_labels=True, transform=transform)

    def _check_transform(self, name):
        if name not in self._transforms:
            raise UserError(
                f"config.{self._stage}.transform='{name}' is not in config.data.transforms; known:"
                f" {', '.join(self._transforms)}"
            )

    def source_pass(self, batch_size):
        """Every source image once as training sees it, without augmentation: {"image", "label",
        "mask", "index"}.
        """
        from data_pipeline.segmentation.pipeline import one_pass

        size = parallel.round_up(batch_size, self.devices)
        return self._stopping(
            one_pass(self._labelled["source"], self._transforms["source"].for_evaluation(), size)
        )

    def target_pass(self, batch_size):
        """Every target training image once as evaluation sees it, images of one size a batch:
        {"image", "mask", "index"}.
        """
        from data_pipeline.segmentation.pipeline import evaluation_batches

        size = parallel.round_up(batch_size, self.devices)
        return self._stopping(
            evaluation_batches(
                self.sets["target"], self._transforms["evaluation"], size, with_labels=False
            )
        )

    def target_size(self, index):
        """(H, W) of a target training image on disk, the size of its labels."""
        return image_size_hw(self.sets["target"].image_paths[index])

    def write_pseudo_labels(self, labels, origin):
        """Writes one label [H, W] per target training image, in order, below the stage's directory;
        a finished folder stays.
        """
        folder = self._directory / PSEUDO_LABELS
        if pseudo_label_files.is_finished(folder, self.sets["target"], origin=origin):
            return
        counter = console.Counter(f"{self._stage}: pseudo-labels")
        pseudo_label_files.write(
            folder, self.sets["target"], labels, origin=origin, progress=counter.update
        )
        counter.close()

    def pseudo_label_pairs(self):
        """(pseudo-label, label) of every target training image, uint8 [H, W] both, to measure how
        good the stage's pseudo-labels are, and for nothing else. Empty where the target has no
        labels, or the stage has made none.
        """
        folder = self._directory / PSEUDO_LABELS
        if self._target.label_paths is None or not folder.is_dir():
            return
        made = pseudo_label_files.read(folder, self.sets["target"])
        yield from (
            (made.read_label(index), self._target.read_label(index)) for index in range(len(made))
        )

    def _stopping(self, batches):
        with contextlib.closing(batches):
            for batch in batches:
                self._check_stop()
                yield batch

    def steps(self, parts, start, stop):
        """Batches of the steps [start, stop): a stream, to be closed, of {part name: {"image",
        "mask", "index"[, "label"]}} in numpy.
        """
        from data_pipeline.segmentation.pipeline import batches

        return batches(parts, start, stop)

    def evaluation(self, batch_size):
        """Every evaluation image once, {"image", "label", "mask", "index"}, all labels of a batch
        of one size, their own.

        Raises:
          StopRequested: between two batches, when the run has been asked to stop.
        """
        from data_pipeline.segmentation.pipeline import evaluation_batches

        size = parallel.round_up(batch_size, self.devices)
        return self._stopping(
            evaluation_batches(self._evaluation_set, self._transforms["evaluation"], size)
        )

    def evaluation_image(self, index):
        """One evaluation image as it is on disk, uint8 [H, W, 3], for pictures."""
        return self._evaluation_set.read_image(index)

    @property
    def has_evaluation_labels(self):
        """Whether there is something to measure on."""
        return self._evaluation_set.label_paths is not None
