"""What the sections of a report share: the networks that are looked at, and what each says of the
same sample of the images, computed once.
"""

import dataclasses
import functools

import numpy as np

from dajax.analysis import figures
from dajax.analysis.samples import some_rows
from dajax.engine import checkpoint, teacher
from dajax.errors import UserError
from dajax.open_workdir import open_workdir
from dajax.report.runs import LeftOut, Run, Stage
from dajax.report.seen import SEED, image_sample, pixel_sample

SAMPLES = 1000  # images of each domain: CLAN and SPCL (figures 4 to 6)
MAX_NETWORKS = 6  # side by side, ours: more do not fit a page
DOMAINS = ("source", "target")


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of a run: `label` in figures, `run`, `stage`, `trained` (dajax.trained.Trained)."""

    label: str
    run: Run
    stage: Stage
    trained: object

    def norm_set(self, domain):
        """The set of normalisation statistics that images of a domain go through."""
        return 0 if domain == "source" else self.stage.config.target_bn


class Context:
    """The runs of a report and what their networks say.

    Args:
      runs: list of runs.Run.
      stage: name of the only stage to look at; None for all of one run, and for the last of each
        of several.
      samples: images of each domain that are looked at.

    Attributes:
      runs, samples: as given.
      networks: list of Network, at most MAX_NETWORKS.
      networks_left_out: labels of the others.

    Raises:
      UserError: no such stage, or it has no network of its own.
    """

    def __init__(self, runs, stage=None, samples=SAMPLES):
        self.runs, self.samples = runs, samples
        found = [(run, one) for run in runs for one in _chosen(run, stage, len(runs) > 1)]
        last = MAX_NETWORKS - 1
        shown = found if len(found) <= MAX_NETWORKS else [found[0], *found[-last:]]
        self.networks_left_out = [one.label for run, one in found if (run, one) not in shown]
        self.networks = [
            Network(one.label, run, one, open_workdir(run.workdir, one.name)) for run, one in shown
        ]
        self._samples = {}

    @property
    def task(self):
        """ "classification" or "segmentation"."""
        return self.runs[0].task

    @property
    def class_names(self):
        """K names."""
        return self.runs[0].class_names

    @property
    def stages(self):
        """All stages of all runs."""
        return [stage for run in self.runs for stage in run.stages]

    @functools.cached_property
    def colors(self):
        """{label of a stage: its colour in every figure}."""
        labels = [network.label for network in self.networks]
        return figures.series_colors([*labels, *(stage.label for stage in self.stages)])

    def images_of(self, network, domain):
        """The set that a domain's images are sampled from: the source, or what is measured on."""
        domains = network.run.domains
        return domains.source if domain == "source" else domains.evaluation

    def sample(self, network, domain):
        """ImageSample or PixelSample of a network and "source" or "target".

        Raises:
          LeftOut: the data cannot be read.
          DataError: an image is broken.
        """
        key = (network.label, network.trained.step, domain)
        if key not in self._samples:
            images = self.images_of(network, domain)
            rows = some_rows(len(images), self.samples, seed=SEED)
            read = image_sample if self.task == "classification" else pixel_sample
            self._samples[key] = read(network, domain, images, rows)
        return self._samples[key]

    def labelled(self, what):
        """Raises LeftOut where a target has no labels, which `what` needs."""
        for network in self.networks:
            images = self.images_of(network, "target")
            if not images.has_labels:
                raise LeftOut(f"{images.name} has no labels, and {what} needs the true classes")

    def snapshots(self, network, count):
        """Networks of at most `count` of the checkpoints that a stage has kept, evenly over them,
        oldest first; the last one is the network itself.
        """
        directory, stage_config = network.stage.directory, network.stage.config
        known = network.stage.snapshots
        places = np.unique(np.linspace(0, len(known) - 1, count).round().astype(int))
        for step in (known[place] for place in places):
            if step == network.trained.step:
                yield network
                continue
            state, _ = checkpoint.read(directory / "checkpoints", step)
            state = teacher.predicting(state, stage_config)
            older = dataclasses.replace(
                network.trained,
                step=step,
                params=state["params"],
                batch_stats=state["batch_stats"],
                extra=state["extra"],
            )
            yield dataclasses.replace(network, trained=older)


def _chosen(run, stage, is_comparison):
    """The stages of a run whose networks are looked at."""
    found = run.networks()
    if not found:
        raise UserError(f"{run.workdir}: no stage with a network has a checkpoint; train it first")
    if stage is None:
        return found[-1:] if is_comparison else found
    chosen = [one for one in found if one.name == stage]
    if not chosen:
        raise UserError(
            f"{run.workdir}: stage '{stage}' has no network of its own to look at; these have:"
            f" {', '.join(one.name for one in found)}"
        )
    return chosen
