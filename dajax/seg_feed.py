"""The engine's view of segmentation data: what a method asks for its batches.

The labels of the target leave this file through `evaluation`, which only evaluate_segmentation.py calls, and for an oracle stage.
"""

from data_pipeline import sampling
from dajax import parallel
from dajax.errors import UserError


class SegFeed:
    """Source, target and evaluation images, their transforms, and the one seed that all randomness of the data comes from.

    Args:
      domains: tasks.common.Domains; transforms "source", "target" and "evaluation".
      seed: of the run. stage: its name, so that every stage draws other batches. devices: that batches are made for.
      is_oracle: this stage may train on the target's labels.
      check_stop: called between two batches of a pass; may raise StopRequested.
    """

    def __init__(self, domains, *, seed, stage, devices, is_oracle, check_stop=lambda: None):
        self._labelled = {"source": domains.source} | ({"target": domains.target} if is_oracle else {})
        self.sets = {"source": domains.source, "target": domains.target.without_labels()}
        self.devices = devices
        self.class_names, self.space = domains.class_names, domains.evaluation.space
        self._evaluation_set, self._transforms = domains.evaluation, domains.transforms
        self._seed, self._stage, self._check_stop = seed, stage, check_stop

    def _key(self, *names):
        return sampling.make_key(self._seed, self._stage, *names)

    def _shuffled(self, image_set, domain, batch_size, accumulate, with_labels):
        from data_pipeline.seg_pipeline import SegPart  # TensorFlow is needed from here on only

        parallel.check_divides(batch_size, len(self.devices), f"config.{self._stage}.batch_size")
        count, order, num_rows = len(image_set), self._key(domain, "shuffled"), batch_size * accumulate
        return SegPart(
            image_set=image_set, rows=lambda step: sampling.random_rows(step, num_rows, count, order), transform=self._transforms[domain],
            key=self._key(domain, "views"), with_labels=with_labels,
        )

    def shuffled(self, domain, batch_size, accumulate=1):
        """Batches of `accumulate` micro-batches of `batch_size` images without labels, without replacement within an epoch.

        Raises:
          UserError: a micro-batch does not divide over the devices.
        """
        return self._shuffled(self.sets[domain], domain, batch_size, accumulate, with_labels=False)

    def shuffled_with_labels(self, domain, batch_size, accumulate=1):
        """The same with labels.

        Raises:
          UserError: the domain's labels are not for training, or it has none.
        """
        if domain not in self._labelled:
            raise UserError(f"{self._stage}: the labels of '{domain}' are not for training; only an oracle stage (domain='target') sees the target's")
        if self._labelled[domain].label_paths is None:
            raise UserError(f"{self._stage}: {self._labelled[domain].name} has no labels to train on")
        return self._shuffled(self._labelled[domain], domain, batch_size, accumulate, with_labels=True)

    def steps(self, parts, start, stop):
        """Batches of the steps [start, stop): an iterator of {part name: {"image", "mask", "index"[, "label"]}} in numpy."""
        from data_pipeline.seg_pipeline import batches

        return batches(parts, start, stop)

    def evaluation(self, batch_size):
        """Every evaluation image once, {"image", "label", "mask", "index"}, all labels of a batch of one size, their own.

        Raises:
          StopRequested: between two batches, when the run has been asked to stop.
        """
        from data_pipeline.seg_pipeline import evaluation_batches

        size = parallel.round_up(batch_size, self.devices)
        for batch in evaluation_batches(self._evaluation_set, self._transforms["evaluation"], size):
            self._check_stop()
            yield batch

    def evaluation_image(self, index):
        """One evaluation image as it is on disk, uint8 [H, W, 3], for pictures."""
        return self._evaluation_set.read_image(index)

    @property
    def has_evaluation_labels(self):
        """Whether there is something to measure on."""
        return self._evaluation_set.label_paths is not None
