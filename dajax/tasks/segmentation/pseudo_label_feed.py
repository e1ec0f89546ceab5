"""What a stage's feed does with pseudo-labels: writes them, says what is wrong with them, and gives
batches of target images with them. Nothing here knows a label of the target.
"""

import abc
import dataclasses

import numpy as np

from dajax import console, processes
from dajax.errors import UserError
from dajax.tasks.feed import BaseFeed
from dajax.tasks.segmentation import target_rows
from data_pipeline import sampling
from data_pipeline.segmentation import pseudo_label_files
from data_pipeline.segmentation.crop_choice import Centred

PSEUDO_LABELS = "pseudo_labels"  # folder below a stage's directory


class PseudoLabelFeed(BaseFeed):
    """See feed.SegFeed, which is one.

    Args:
      directory: of the stage; pseudo-labels lie in it, or in that of another stage beside it.
      earlier_rounds: stages that made the pseudo-labels of the rounds before, oldest first.
      **rest: see BaseFeed.
    """

    def __init__(self, *, directory, earlier_rounds=(), **rest):
        super().__init__(**rest)
        self._directory, self.earlier_rounds = directory, tuple(earlier_rounds)

    @abc.abstractmethod
    def shuffled_with_labels(self, domain, batch_size, accumulate=1, transform=""):
        """See SegFeed."""

    def _pipeline(self):
        from data_pipeline.segmentation import pipeline

        return pipeline

    def _shuffled(self, image_set, domain, batch_size, accumulate, with_labels, transform=None):
        return self._pipeline().SegPart(
            image_set=image_set,
            rows=self._shuffled_rows(domain, len(image_set), batch_size, accumulate),
            transform=self._transforms[transform or domain],
            key=self._key(domain, "views"),
            with_labels=with_labels,
            with_index=False,
        )

    def with_pseudo_labels(self, batch_size, labels_from, transform="target"):
        """Batches of target images with the labels that the stage `labels_from` has made for them.

        Args:
          transform: key of config.data.transforms.

        Raises:
          UserError: that stage has made none, or there is no such transform.
        """
        self._check_transform(transform)
        folder = self._labels_of(labels_from)
        if not folder.is_dir():
            raise UserError(
                f"config.{self._stage}.labels_from='{labels_from}': no pseudo-labels in {folder};"
                " name a stage of method pseudo_labels"
            )
        made = pseudo_label_files.read(folder, self.sets["target"])
        return self._shuffled(made, "target", batch_size, 1, with_labels=True, transform=transform)

    def mixed_with_pseudo_labels(self, batch_size, labels_from, transform, source_share):
        """{"source": part, "target": part} of CBST's batches: every row is of one of them, and
        padding in the other. The rows are of one shuffled list of all target images, with
        pseudo-labels, and of a share of the source's, which every stage draws for itself.

        Args:
          source_share: of the source's images, above 0; at least one is taken.

        Raises:
          UserError: as with_pseudo_labels.
        """
        target = self.with_pseudo_labels(batch_size, labels_from, transform)
        source = self.shuffled_with_labels("source", batch_size)
        num_target, num_source = len(target.image_set), len(source.image_set)
        taken = max(1, round(source_share * num_source))
        chosen = sampling.random_subset(num_source, taken, self._key("source", "share"))
        places = self._shuffled_rows("mixed", num_target + taken, batch_size)
        rows = target_rows.mixed(places, num_target, chosen)
        parts = {"source": source, "target": target}
        return {name: dataclasses.replace(part, rows=rows[name]) for name, part in parts.items()}

    def with_crops_of_rare_classes(self, part, labels_from, settings):
        """The part, with pseudo-labels of the stage `labels_from`, whose crops are centred on rare
        classes of these labels, see crop_choice.Centred (CRST).

        Args:
          settings: config.STAGE.rare_crops: a class is rare with less than `share` of all pixels;
            `probability` of a crop that is centred on one.

        Raises:
          UserError: an earlier version has made the labels.
          DataError: the part's transform does not crop, or chooses crops itself.
        """
        pixels = self._predicted_pixels(labels_from, "rare_crops")
        rare = target_rows.rare_predictions(pixels, settings.share)
        wanted = Centred(tuple(rare.tolist()), settings.probability)
        return dataclasses.replace(part, wanted=wanted)

    def _labels_of(self, stage):
        """The folder of a stage's pseudo-labels."""
        return self._directory.parent / stage / PSEUDO_LABELS

    def _origin(self, labels_from):
        """How the labels of a stage were made, {} where that is not known."""
        return pseudo_label_files.origin_of(self._labels_of(labels_from)) or {}

    def _predicted_pixels(self, labels_from, key):
        """int64 [N, K], that each class was predicted for in each image; for the option `key`."""
        found = self._origin(labels_from).get("pixels")
        if found is None:
            raise UserError(
                f"config.{self._stage}.{key}: the pseudo-labels of '{labels_from}' were made by a"
                " version that did not count the pixels of each class; begin in a new workdir"
            )
        return np.array(found, np.int64)

    def easy_and_hard(self, batch_size, labels_from, share, favoured=()):
        """{"source": part, "target": part} of IntraDA: the target images that the network of the
        stage `labels_from` was surest of, with the pseudo-labels of that stage, and the others,
        without any.

        Args:
          share: of the images, in ascending order of their entropy, that are easy.
          favoured: names of classes; an image in which the network sees more of them comes earlier,
            see target_rows.rare_factors.

        Raises:
          UserError: as with_pseudo_labels; the labels have no entropies; all images or none would
            be easy; there is no such class.
        """
        made = self.with_pseudo_labels(batch_size, labels_from).image_set
        ranks = self._origin(labels_from).get("entropies")
        if favoured:
            pixels = self._predicted_pixels(labels_from, "favoured")
            factors = target_rows.rare_factors(pixels, self._train_ids(favoured))
            ranks = np.multiply(ranks, factors)
        easy, hard = target_rows.easy_and_hard(
            ranks, share, len(made), f"config.{self._stage}.easy_share"
        )
        parts = {
            "source": made.chosen(easy, f"{made.name}, easy"),
            "target": self.sets["target"].chosen(hard, f"{made.name}, hard"),
        }
        return {
            name: self._shuffled(images, name, batch_size, 1, images.has_labels, "target")
            for name, images in parts.items()
        }

    def check_easy_and_hard(self, share, favoured=()):
        """Raises UserError where easy_and_hard would, whatever the pseudo-labels are."""
        count = len(self.sets["target"])
        target_rows.easy_and_hard(range(count), share, count, f"config.{self._stage}.easy_share")
        self._train_ids(favoured)

    def _train_ids(self, favoured):
        names = self.sets["target"].class_names
        if unknown := [name for name in favoured if name not in names]:
            raise UserError(
                f"config.{self._stage}.favoured: {', '.join(map(str, unknown))}: no such class;"
                f" known: {', '.join(names)}"
            )
        return [names.index(name) for name in favoured]

    def _check_transform(self, name):
        if name not in self._transforms:
            raise UserError(
                f"config.{self._stage}.transform='{name}' is not in config.data.transforms; known:"
                f" {', '.join(self._transforms)}"
            )

    def write_pseudo_labels(self, labels, origin):
        """Writes labels below the stage's directory; those of the same origin that are whole stay.

        Others are what a run has left that was killed before it saved this stage, perhaps on other
        devices, whose thresholds differ in their last bits; or they are damaged.

        Args:
          labels: (number of the image, uint8 [H, W]) for each target training image of which this
            process has the batch; an iterable.
          origin: what the labels were made from, see pseudo_label_files.write.
        """
        folder, target = self._directory / PSEUDO_LABELS, self.sets["target"]

        def is_finished():
            return pseudo_label_files.problem(folder, target, origin=origin) is None

        if processes.from_first_object(is_finished):
            return
        counter = console.Counter(f"{self._stage}: pseudo-labels")

        def progress(done, total):  # the others have done about as many
            counter.update(min(done * processes.count(), total), total)

        with processes.first_before_others("pseudo-labels are begun"):
            if processes.is_first():
                pseudo_label_files.discard(folder)
                pseudo_label_files.begin(folder)
        pseudo_label_files.write_some(folder, target, labels, progress=progress)
        processes.meet("pseudo-labels are written")
        with processes.first_before_others("pseudo-labels are finished"):
            if processes.is_first():
                pseudo_label_files.finish(folder, target, origin=origin)
        counter.close()

    def problem_of_pseudo_labels(self):
        """Why the labels that this stage has made cannot be trained on; None where they can."""
        folder = self._directory / PSEUDO_LABELS
        return pseudo_label_files.problem(folder, self.sets["target"])

    def pseudo_labels_of_two_rounds(self):
        """(this stage's pseudo-label, that of the round before or None) of every target training
        image, uint8 [H, W] both. Empty where the stage has made none. No label of the target.
        """
        folder, target = self._directory / PSEUDO_LABELS, self.sets["target"]
        if not folder.is_dir():
            return
        made, before = pseudo_label_files.read(folder, target), None
        if self.earlier_rounds:
            earlier = self._labels_of(self.earlier_rounds[-1])
            before = pseudo_label_files.read(earlier, target) if earlier.is_dir() else None
        for index in range(len(made)):
            yield made.read_label(index), None if before is None else before.read_label(index)
