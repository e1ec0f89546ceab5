"""The engine's view of the data: what a method asks for its batches and its passes over a domain.

The labels of the target leave this file through `evaluation` alone, and only evaluate.py calls
that.
"""

import functools

import numpy as np

from dajax import parallel
from dajax.errors import UserError
from data_pipeline import sampling
from data_pipeline.classification.class_aware import ClassAwareSampler
from data_pipeline.classification.image_set import merged


class Feed:
    """The domains of a run, the transforms of their images ("train" and "eval"), and the one seed
    of all randomness in the data.

    Attributes:
      sets: {"source": ImageSet with labels, all sources in one; "source0", "source1" ...: each of
        them; "target": ImageSet without}.
      devices: the devices that batches are made for; passes over a set are padded to a multiple of
        their number.

    `check_stop` is called between two batches of a pass over a set and may raise StopRequested.
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
        check_stop=lambda: None,
    ):
        self.sets = {"source": merged(sources), "target": target.without_labels()}
        self.sets |= {f"source{i}": source for i, source in enumerate(sources)}
        self.devices = devices
        self._target_labels, self._evaluation_set = target.labels, evaluation
        self._transforms = transforms
        self._seed, self._stage, self._check_stop = seed, stage, check_stop

    def _key(self, *names):
        return sampling.make_key(self._seed, self._stage, *names)

    def _part(self, domain, rows, name, *, views="train"):
        from data_pipeline.classification.pipeline import (
            Part,  # TensorFlow is needed from here on only
        )

        images = self.sets[domain]
        key, with_labels = self._key(name, "views"), images.labels is not None
        return Part(
            image_set=images,
            rows=rows,
            transform=self._transforms[views],
            key=key,
            with_labels=with_labels,
        )

    def shuffled(self, domain, batch_size):
        """Batches of `batch_size` rows, without replacement within an epoch, the incomplete last
        batch of an epoch left out.

        Raises:
          UserError: the batch does not divide over the devices.
        """
        parallel.check_divides(batch_size, len(self.devices), f"config.{self._stage}.batch_size")
        count, key = len(self.sets[domain]), self._key(domain, "shuffled")
        return self._part(
            domain,
            lambda step: sampling.random_rows(step, batch_size, count, key),
            f"{domain} shuffled",
        )

    def _class_aware_sampler(self, sources, target_labels, kept_classes, settings):
        return ClassAwareSampler.from_labels(
            [self.sets[source].labels for source in sources],
            target_labels,
            kept_classes,
            num_selected=settings.num_classes,
            source_per_class=settings.source_per_class,
            target_per_class=settings.target_per_class,
            update_fraction=settings.update_fraction,
        )

    def class_aware_steps(self, sources, target_labels, kept_classes, settings, *, fallback_batch):
        """Steps of one loop of class-aware batches; when no class is kept, one epoch of source
        batches of `fallback_batch` instead.
        """
        epoch = max(max(len(self.sets[source]) for source in sources) // fallback_batch, 1)
        steps = int(np.ceil(epoch * settings.update_fraction))
        return self._class_aware_sampler(sources, target_labels, kept_classes, settings).iterations(
            steps
        )

    def class_aware(self, sources, target_labels, kept_classes, settings, *, first_step, name):
        """A part of each domain whose rows stand in the same class blocks (CAN, spec section 6).

        Args:
          sources: keys of `sets`, e.g. ("source",).
          target_labels: int32 [N_t] pseudo-labels, -1 for images that take no part.
          kept_classes: bool [K].
          settings: num_classes (blocks in a batch), source_per_class, target_per_class,
            update_fraction.
          first_step: the global step at which this loop began.
          name: distinguishes the random draws of this loop from any other's.

        Returns:
          ([source Part], target Part); rows are padded to a multiple of the number of devices,
            padding masked.
        """
        sampler, key = (
            self._class_aware_sampler(sources, target_labels, kept_classes, settings),
            self._key("class_aware", name),
        )
        # the parts hold what they need and not the feed, which knows the target's labels
        devices = self.devices

        # every part asks for the same steps, a few of them ahead of time
        @functools.lru_cache(maxsize=16)
        def draw(step):
            of_sources, of_target, _ = sampler.rows(step - first_step, key)
            return [*of_sources, of_target]

        def rows_of(position):
            def rows(step):
                drawn = draw(step)[position]
                return np.pad(
                    drawn,
                    (0, parallel.round_up(len(drawn), devices) - len(drawn)),
                    constant_values=-1,
                )

            return rows

        parts = [
            self._part(domain, rows_of(i), f"{name} {domain}")
            for i, domain in enumerate((*sources, "target"))
        ]
        return parts[:-1], parts[-1]

    def steps(self, parts, start, stop):
        """Batches of the steps [start, stop): a stream, to be closed, of {part name: {"image",
        "mask", "index"[, "label"]}} in numpy.
        """
        from data_pipeline.classification.pipeline import batches

        return batches(parts, start, stop)

    def _one_pass(self, part, count, batch_size):
        steps = sampling.num_sequential_steps(count, batch_size)
        with self.steps({"images": part}, 0, steps) as stream:
            for batch in stream:
                self._check_stop()
                yield batch["images"]

    def sequence(self, domain, batch_size, *, views, name):
        """Every image of a domain once, in order, in masked batches of equal size.

        Args:
          domain: a key of `sets`; the target comes without labels.
          batch_size: rounded up to a multiple of the number of devices.
          views: "train" for one random view an image, "eval" for the evaluation view.
          name: distinguishes the random views of this pass from any other's.

        Raises:
          StopRequested: between two batches, when the run has been asked to stop.
        """
        count, size = len(self.sets[domain]), parallel.round_up(batch_size, self.devices)
        part = self._part(
            domain, lambda step: sampling.sequential_rows(step, size, count), name, views=views
        )
        return self._one_pass(part, count, size)

    def evaluation(self, batch_size):
        """Every image of the evaluation set once with its label, evaluation view. For evaluate.py.

        Raises:
          UserError: the target has no labels.
        """
        from data_pipeline.classification.pipeline import Part

        images = self._evaluation_set
        if images.labels is None:
            raise UserError(f"{images.name}: has no labels, so there is nothing to evaluate on")
        size = parallel.round_up(batch_size, self.devices)
        part = Part(
            image_set=images,
            rows=lambda step: sampling.sequential_rows(step, size, len(images)),
            transform=self._transforms["eval"],
            key=self._key("evaluation"),
            with_labels=True,
        )
        return self._one_pass(part, len(images), size)

    @property
    def has_evaluation_labels(self):
        """Whether the target can be evaluated."""
        return self._evaluation_set.labels is not None

    @property
    def evaluation_labels(self):
        """int32 [N_t] true labels of the target to adapt to, or None; for figures that are marked
        as evaluation only.
        """
        return self._target_labels
