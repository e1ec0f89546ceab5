"""The engine's view of images with one label each: what a method asks for its batches and its
passes over a domain.

The labels of the target leave this file in two ways: through `evaluation`, which only evaluate.py
calls, and through `evaluation_labels`, for figures that are marked as evaluation only.
"""

import dataclasses
import functools

import numpy as np

from dajax import parallel
from dajax.errors import UserError
from dajax.ops.class_blocks import batch_sizes
from dajax.tasks.feed import NEVER, BaseFeed
from data_pipeline import sampling
from data_pipeline.classification.class_aware import ClassAwareSampler
from data_pipeline.classification.image_set import merged


class Feed(BaseFeed):
    """Sources, target and evaluation images of a run.

    Args:
      sources: labelled ImageSets.
      target: the ImageSet to adapt to; its labels are taken away for training.
      evaluation: the ImageSet that figures are measured on.
      transforms: {"train": Transform, "eval": Transform}.
      seed, stage, devices, stop: see BaseFeed.
      strong_view: Transform of the second view of an image, or None.
      held_out: of each source the labelled ImageSet that is not trained on, or ().

    Attributes:
      sets: {"source": ImageSet with labels, all sources in one; "source0", "source1" ...: each of
        them; "target": ImageSet without}.
    """

    def __init__(
        self,
        sources,
        target,
        evaluation,
        *,
        transforms,
        seed,
        stage,
        devices,
        stop=NEVER,
        strong_view=None,
        held_out=(),
    ):
        sets = {"source": merged(sources), "target": target.without_labels()}
        sets |= {f"source{i}": source for i, source in enumerate(sources)}
        super().__init__(
            sets=sets,
            evaluation=evaluation,
            transforms=transforms,
            strong_view=strong_view,
            seed=seed,
            stage=stage,
            devices=devices,
            stop=stop,
            held_out=held_out,
        )
        self._target_labels = target.labels
        self.num_sources = len(sources)

    def _pipeline(self):
        from data_pipeline.classification import pipeline

        return pipeline

    def _part(self, domain, rows, name, *, views="train", with_index=False):
        images = self.sets[domain]
        return self._pipeline().Part(
            image_set=images,
            rows=rows,
            transform=self._transforms[views],
            key=self._key(name, "views"),
            with_labels=images.has_labels,
            with_index=with_index,
        )

    def shuffled(self, domain, batch_size):
        """Batches of `batch_size` rows, without replacement within an epoch; the incomplete last
        batch of an epoch is left out.

        Args:
          domain: a key of `sets`; labels come with those that have some.

        Raises:
          UserError: the batch does not divide over the devices.
        """
        rows = self._shuffled_rows(domain, len(self.sets[domain]), batch_size)
        return self._part(domain, rows, f"{domain} shuffled")

    def with_second_view(self, part):
        """The part, whose batches also have "strong_image": a second view of the same rows, of the
        part's own transform, with random numbers of its own.
        """
        return dataclasses.replace(part, strong_view=part.transform)

    def _class_aware_sampler(self, sources, target_labels, kept_classes, settings):
        sizes = batch_sizes(settings, len(kept_classes))
        return ClassAwareSampler.from_labels(
            [self.sets[source].labels for source in sources],
            target_labels,
            kept_classes,
            num_selected=sizes.classes,
            source_per_class=sizes.source_per_class,
            target_per_class=sizes.target_per_class,
            update_fraction=settings.update_fraction,
        )

    def class_aware_steps(self, sources, target_labels, kept_classes, settings, *, fallback_batch):
        """Steps of one loop of class-aware batches; when no class is kept, one epoch of source
        batches of `fallback_batch` instead.
        """
        epoch = max(max(len(self.sets[source]) for source in sources) // fallback_batch, 1)
        steps = int(np.ceil(epoch * settings.update_fraction))
        sampler = self._class_aware_sampler(sources, target_labels, kept_classes, settings)
        return sampler.iterations(steps)

    def class_aware(self, sources, target_labels, kept_classes, settings, *, first_step, name):
        """A part of each domain whose rows stand in the same class blocks (CAN, class-aware
        sampling; see data_pipeline.classification.class_aware).

        Args:
          sources: keys of `sets`, e.g. ("source",).
          target_labels: int32 [N_t] pseudo-labels, -1 for images that take no part.
          kept_classes: bool [K].
          settings: update_fraction, and what ops.class_blocks.batch_sizes takes.
          first_step: the global step at which this loop began.
          name: distinguishes the random draws of this loop from any other's.

        Returns:
          ([Part of each source], Part of the target). Rows are padded to a multiple of the number
          of devices; padding is masked.
        """
        sampler = self._class_aware_sampler(sources, target_labels, kept_classes, settings)
        key = self._key("class_aware", name)
        # The parts hold what they need and not the feed, which knows the target's labels.
        devices = self.devices

        # Every part asks for the same steps, a few of them ahead of time.
        @functools.lru_cache(maxsize=16)
        def draw(step):
            of_sources, of_target, _ = sampler.rows(step - first_step, key)
            return [*of_sources, of_target]

        def rows_of(position):
            def rows(step):
                drawn = draw(step)[position]
                missing = parallel.round_up(len(drawn), devices) - len(drawn)
                return np.pad(drawn, (0, missing), constant_values=-1)

            return rows

        parts = [
            self._part(domain, rows_of(i), f"{name} {domain}")
            for i, domain in enumerate((*sources, "target"))
        ]
        return parts[:-1], parts[-1]

    def _one_pass(self, part, count, batch_size, share):
        steps = sampling.num_sequential_steps(count, batch_size)
        stream = self._pipeline().batches({"images": part}, 0, steps, share=share)
        for batch in self._stopping(stream):
            yield batch["images"]

    def sequence(self, domain, batch_size, *, views, name):
        """Every image of a domain once, in order, in masked batches of equal size; of several
        processes each has some of the batches.

        Args:
          domain: a key of `sets`; the target comes without labels.
          batch_size: rounded up to a multiple of the number of devices.
          views: "train" for one random view an image, "eval" for the evaluation view.
          name: distinguishes the random views of this pass from any other's.

        Raises:
          StopRequested: between two batches, when the run has been asked to stop.
        """
        count, size = len(self.sets[domain]), self._round_up(batch_size)

        def rows(step):
            return sampling.sequential_rows(step, size, count)

        part = self._part(domain, rows, name, views=views, with_index=True)
        return self._one_pass(part, count, size, self._share_of_pass())

    def evaluation(self, batch_size):
        """Every image of the evaluation set once with its label, evaluation view; of several
        processes each has some of the batches. For evaluate.py.

        Raises:
          UserError: the target has no labels.
        """
        images = self._evaluation_set
        if not images.has_labels:
            raise UserError(f"{images.name}: has no labels, so there is nothing to evaluate on")
        return self._evaluation_pass(images, batch_size, self._share_of_pass())

    def evaluation_images(self, batch_size):
        """The same without labels."""
        images = self._evaluation_set.without_labels()
        return self._evaluation_pass(images, batch_size, self._share_of_pass())

    def source_sample(self, number, count, batch_size, *, held_out):
        """At most `count` images of a source, the same at every call and in every process, with
        their labels, evaluation view.

        Args:
          number: of the source.
          batch_size: rounded up to a multiple of the number of devices.
          held_out: True for images that no stage trains on, False for those that are trained on.
        """
        images = self._held_out[number] if held_out else self.sets[f"source{number}"]
        key = sampling.make_key(0, "sample", str(number), str(held_out))
        rows = sampling.random_subset(len(images), count, key)
        return self._evaluation_pass(images, batch_size, self._pipeline().ALL, rows)

    def _evaluation_pass(self, images, batch_size, share, chosen=None):
        """The images of a set, or those of the rows `chosen`, once in order; with labels where the
        set has some.
        """
        size, count = self._round_up(batch_size), len(images if chosen is None else chosen)

        def rows(step):
            places = sampling.sequential_rows(step, size, count)
            return places if chosen is None else np.where(places < 0, -1, chosen[places])

        part = self._pipeline().Part(
            image_set=images,
            rows=rows,
            transform=self._transforms["eval"],
            key=self._key("evaluation"),
            with_labels=images.has_labels,
            with_index=True,
        )
        return self._one_pass(part, count, size, share)

    @property
    def evaluation_labels(self):
        """int32 [N_t] true labels of the target to adapt to, or None; for figures that are marked
        as evaluation only.
        """
        return self._target_labels
