"""The engine's view of the data, as far as it is the same for both tasks: what a method asks for
its batches and its passes over a domain.
"""

import abc
import contextlib
import dataclasses

from dajax import parallel, processes
from dajax.errors import UserError
from data_pipeline import sampling


class NeverStops:
    """A stop flag for whoever cannot be asked to stop, see engine.signals.StopFlag."""

    is_asked = False

    def check(self):
        """Raises nothing."""


NEVER = NeverStops()


class BaseFeed(abc.ABC):
    """The sets of a run, the transforms of their images, and the one seed of all randomness in the
    data. Each task has a feed of its own.

    Args:
      sets: {name: set that training may see}.
      evaluation: the set that figures are measured on.
      transforms: {name: transform of the task}.
      strong_view: what the task's parts take as a second view of their rows, or None.
      seed: of the run.
      stage: its name, so that every stage draws other batches.
      devices: that batches are made for; passes over a set are padded to a multiple of their
        number.
      stop: engine.signals.StopFlag, which is looked at between two batches of a pass over a set.
      held_out: labelled source sets that no stage trains on, or ().

    Attributes:
      earlier_rounds: names of stages before this one whose refreshes the log compares its own with,
        oldest first.
    """

    earlier_rounds = ()

    def __init__(
        self,
        *,
        sets,
        evaluation,
        transforms,
        strong_view,
        seed,
        stage,
        devices,
        stop,
        held_out=(),
    ):
        self.sets, self.devices = sets, devices
        self._evaluation_set, self._transforms = evaluation, transforms
        self._strong_view, self._held_out = strong_view, tuple(held_out)
        self._seed, self._stage, self._stop = seed, stage, stop

    @abc.abstractmethod
    def _pipeline(self):
        """The task's pipeline in data_pipeline. TensorFlow is loaded here and not before."""

    @property
    def has_evaluation_labels(self):
        """Whether there is something to measure on."""
        return self._evaluation_set.has_labels

    @property
    def has_source_held_out(self):
        """Whether labelled source images are kept from training, for the rule "dev"."""
        return bool(self._held_out)

    def with_index(self, part):
        """The part, whose batches also have "index": int32 [N], each row's number in its set (the
        order of `sets` and of a pass); -1 in padding.
        """
        return dataclasses.replace(part, with_index=True)

    def with_strong_view(self, part):
        """The part, whose batches also have "strong_image", of the shape of "image": a second view
        of the same rows, which are read and decoded once.

        config.data.strong_view describes it. In classification it has the keys of
        config.data.transform, "appearance" among them (see classification.transforms.from_config),
        and draws random numbers of its own. In segmentation it has those of an Appearance, colour
        jitter and blur: both views show the same pixels at the same place, so that labels made on
        one fit the other.

        Raises:
          UserError: the config describes no such view.
        """
        if self._strong_view is None:
            raise UserError(
                f"{self._stage}: its method trains on two views of an image, and"
                " config.data.strong_view, which describes the second, is missing or None; set it"
                " in the recipe"
            )
        return dataclasses.replace(part, strong_view=self._strong_view)

    def steps(self, parts, start, stop):
        """Batches of the steps [start, stop): a stream, to be closed, of {part name: {"image",
        "mask"}} in numpy, with "label", "index" and "strong_image" where the part asks for them. Of
        several processes each has its share of the rows.
        """
        share = self._pipeline().Share(processes.index(), processes.count())
        return self._pipeline().batches(parts, start, stop, share=share)

    def whole_steps(self, parts, start, stop):
        """The same with all rows of every step in every process: for a few batches of which each
        process computes the same thing.
        """
        return self._pipeline().batches(parts, start, stop)

    def _share_of_pass(self):
        """What of a pass over a set this process reads."""
        return self._pipeline().Share(processes.index(), processes.count(), of_steps=True)

    def _key(self, *names):
        return sampling.make_key(self._seed, self._stage, *names)

    def _shuffled_rows(self, domain, count, batch_size, accumulate=1):
        """step -> `accumulate` times `batch_size` rows out of `count`, without replacement within
        an epoch; what remains of an epoch is left out.

        Raises:
          UserError: batch_size does not divide over the devices.
        """
        parallel.check_divides(batch_size, len(self.devices), f"config.{self._stage}.batch_size")
        num_rows, order = batch_size * accumulate, self._key(domain, "shuffled")
        # The parts hold what they need and not the feed, which knows the target's labels.
        return lambda step: sampling.random_rows(step, num_rows, count, order)

    def _round_up(self, batch_size):
        """The batch size of a pass over a set: the next multiple of the number of devices."""
        return parallel.round_up(batch_size, self.devices)

    def _stopping(self, batches):
        """The batches, which are closed after the last one and when the run is asked to stop.

        Several processes have different batches of a pass, and perhaps one more than another. They
        agree at its end whether one of them has broken off.

        Raises:
          StopRequested: after the last batch, or instead of one.
        """
        with contextlib.closing(batches):
            for batch in batches:
                if self._stop.is_asked:
                    break
                yield batch
        self._stop.check()
