"""The engine's view of segmentation data: what a method asks for its batches.

The labels of the target leave this file in three ways: through `evaluation`, which only evaluate.py
calls, through `pseudo_label_pairs`, for figures that are marked as evaluation only, and for an
oracle stage.
"""

import dataclasses

import jax
import numpy as np

from dajax import console, processes
from dajax.errors import UserError
from dajax.tasks.feed import NEVER
from dajax.tasks.segmentation import rare_classes
from dajax.tasks.segmentation.pseudo_label_feed import PSEUDO_LABELS, PseudoLabelFeed
from data_pipeline import sampling
from data_pipeline.segmentation import class_balanced, pseudo_label_files
from data_pipeline.segmentation.margins import NO_MARGINS
from data_pipeline.segmentation.margins import from_config as read_margins


class SegFeed(PseudoLabelFeed):
    """Source, target and evaluation images of a run.

    Args:
      domains: tasks.common.Domains; transforms "source", "target" and "evaluation".
      seed, stage, devices, stop: see BaseFeed.
      directory, earlier_rounds: see PseudoLabelFeed.
      is_oracle: this stage may train on the target's labels.
      window: ops.windows.Window, through which every image of an evaluation or of a pass for
        pseudo-labels goes; None for the whole image at once.

    Attributes:
      sets: {"source": SegmentationSet with labels, "target": one without}.
      class_names: K names.
      space: LabelSpace of the evaluation images.
      window: as given.
    """

    def __init__(
        self,
        domains,
        *,
        seed,
        stage,
        directory,
        devices,
        is_oracle,
        earlier_rounds=(),
        stop=NEVER,
        window=None,
    ):
        super().__init__(
            sets={"source": domains.source, "target": domains.target.without_labels()},
            evaluation=domains.evaluation,
            transforms=domains.transforms,
            strong_view=domains.strong_view,
            seed=seed,
            stage=stage,
            devices=devices,
            stop=stop,
            held_out=domains.held_out,
            directory=directory,
            earlier_rounds=earlier_rounds,
        )
        self._labelled = {"source": domains.source}
        if is_oracle:
            self._labelled["target"] = domains.target
        self.class_names, self.space = domains.class_names, domains.evaluation.space
        self._target, self.window = domains.target, window

    def shuffled(self, domain, batch_size, accumulate=1, margins=()):
        """Batches of `accumulate` micro-batches of `batch_size` images without labels, without
        replacement within an epoch.

        Args:
          margins: shares (top, bottom, left, right) of a frame in which pseudo-labels do not count,
            see data_pipeline.segmentation.margins; with any above 0, and of target images that
            are padded, the batches also have "trusted": bool [N, H, W], of the size of a label.

        Raises:
          UserError: a micro-batch does not divide over the devices.
          DataError: margins that are none, or leave nothing.
        """
        part = self._shuffled(self.sets[domain], domain, batch_size, accumulate, with_labels=False)
        found = read_margins(margins, f"config.{self._stage}.margins")
        if found is None and domain == "target" and self._transforms[domain].pad:
            found = NO_MARGINS
        return part if found is None else dataclasses.replace(part, margins=found)

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
        images = self._labelled[domain]
        if not images.has_labels:
            raise UserError(f"{self._stage}: {images.name} has no labels to train on")
        self._check_transform(transform or domain)
        return self._shuffled(
            images, domain, batch_size, accumulate, with_labels=True, transform=transform
        )

    def normalisation(self, domain):
        """{"channels", "divisor", "mean", "std"}: how the images of a domain come to a method, of
        config.data.transforms; see data_pipeline.segmentation.transforms.SegTransform.
        """
        transform = self._transforms[domain]
        return {name: getattr(transform, name) for name in ("channels", "divisor", "mean", "std")}

    def shapes(self, domain):
        """What a batch of one labelled image of a domain may look like: a list of parts, image,
        label and mask, of jax.ShapeDtypeStruct; one for each size that images may have.
        """
        transform = self._transforms[domain]
        draws = (0.0, *(bound for bound, _ in transform.image_scales if bound < 1))
        struct = jax.ShapeDtypeStruct
        return [
            {
                "image": struct((1, *size_hw, 3), np.float32),
                "label": struct((1, *transform.size_hw), np.int32),
                "mask": struct((1,), bool),
            }
            for size_hw in dict.fromkeys(map(transform.image_hw, draws))
        ]

    def rare_classes(self, domain, batch_size, settings, accumulate=1):
        """Batches of labelled images of a domain, of which each was drawn for a class, the rarer
        the likelier (DAFormer), and is cropped where it shows enough of it; see
        data_pipeline.segmentation.rare_class and crop_choice. The pixels of every label are counted
        once, beside the stages.

        Args:
          settings: config.STAGE.rare_classes: temperature, min_pixels, min_crop_ratio.

        Raises:
          UserError: as shuffled_with_labels.
          DataError: settings that no image fulfils, naming the class.
        """
        part = self.shuffled_with_labels(domain, batch_size, accumulate)
        with processes.first_before_others(f"pixels of the {domain}"):
            rare = rare_classes.drawing(
                self._labelled[domain],
                settings,
                domain=domain,
                stage=self._stage,
                workdir=self._directory.parent,
            )
        key = self._key(domain, "rare classes")
        num_rows = batch_size * accumulate
        wanted = None
        if rare.min_crop_pixels is not None:
            from data_pipeline.segmentation.part_reader import WantedClasses  # loads TensorFlow

            wanted = WantedClasses(
                lambda step: rare.drawn(step, num_rows, key)[1], rare.min_crop_pixels
            )
        return dataclasses.replace(
            part, rows=lambda step: rare.drawn(step, num_rows, key)[0], wanted=wanted
        )

    def class_balanced(self, batch_size):
        """Batches of labelled source images with rare classes drawn more often (SPCL), see
        data_pipeline.segmentation.class_balanced.
        """
        images = self._labelled["source"]
        part = self._shuffled(images, "source", batch_size, 1, with_labels=True)
        counter = console.Counter(f"{self._stage}: looking for the classes of each source image")
        cache = self._directory.parent / "source_classes.json"
        with processes.first_before_others("classes of the source"):
            present = class_balanced.classes_present(images, cache=cache, progress=counter.update)
        counter.close()
        key = self._key("source", "class balanced")
        return dataclasses.replace(
            part, rows=lambda step: class_balanced.rows(step, batch_size, present, key)
        )

    def source_pass(self, batch_size):
        """Every source image once as training sees it, without augmentation: {"image", "label",
        "mask", "index"}. As in every pass over a set, of several processes each has some of the
        batches.
        """
        images, transform = self._labelled["source"], self._transforms["source"].for_evaluation()
        size, share = self._round_up(batch_size), self._share_of_pass()
        return self._stopping(self._pipeline().one_pass(images, transform, size, share))

    def target_pass(self, batch_size):
        """Every target training image once as evaluation sees it: {"image", "mask", "index"}, and
        "size_hw" and "room_hw" of the images on disk, see segmentation.pipeline.evaluation_batches.
        """
        return self._evaluation_pass(self.sets["target"], batch_size, self._share_of_pass())

    def _evaluation_pass(self, images, batch_size, share):
        """With labels where the set has some."""
        evaluation_batches, size = self._pipeline().evaluation_batches, self._round_up(batch_size)
        transform = self._transforms["evaluation"]
        batches = evaluation_batches(images, transform, size, images.has_labels, share)
        return self._stopping(batches)

    def pseudo_label_pairs(self):
        """(pseudo-label, label) of every target training image, uint8 [H, W] both. Empty where the
        target has no labels, or the stage has made none.

        For one use: to measure how good the stage's pseudo-labels are.
        """
        folder = self._directory / PSEUDO_LABELS
        if not self._target.has_labels or not folder.is_dir():
            return
        made = pseudo_label_files.read(folder, self.sets["target"])
        yield from (
            (made.read_label(index), self._target.read_label(index)) for index in range(len(made))
        )

    def evaluation(self, batch_size):
        """Every evaluation image once, {"image", "label", "mask", "index"}, each label in the upper
        left corner of room for all of the batch; and "size_hw" and "room_hw", see
        segmentation.pipeline.evaluation_batches.

        Raises:
          StopRequested: between two batches, when the run has been asked to stop.
        """
        return self._evaluation_pass(self._evaluation_set, batch_size, self._share_of_pass())

    def evaluation_images(self, batch_size):
        """The same without labels; the sizes are those of the images."""
        images = self._evaluation_set.without_labels()
        return self._evaluation_pass(images, batch_size, self._share_of_pass())

    def sample(self, which, count, batch_size):
        """At most `count` images as evaluation sees them, the same at every call and in every
        process.

        Args:
          which: "source", "held_out", source images that no stage trains on, or "evaluation"; the
            first two with labels, the last without; keys as of `evaluation`.
        """
        images = {
            "source": self._labelled["source"],
            "held_out": self._held_out[0],
            "evaluation": self._evaluation_set.without_labels(),
        }[which]
        key = sampling.make_key(0, "sample", which)
        rows = sampling.random_subset(len(images), count, key)
        chosen = images.chosen(rows, images.name)
        return self._evaluation_pass(chosen, batch_size, self._pipeline().ALL)

    def evaluation_image(self, index):
        """One evaluation image as it is on disk, uint8 [H, W, 3], for pictures."""
        return self._evaluation_set.read_image(index)
