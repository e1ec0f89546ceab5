"""A workdir as a report sees it: what its stages have left, and its data where they still are."""

import dataclasses
import functools
import pathlib
from typing import Any

from dajax import label_free, methods, tasks
from dajax.engine import checkpoint, fingerprints, json_files, log, rounds
from dajax.errors import UserError
from dajax.methods import interface
from dajax.open_workdir import REMEDY, open_workdir
from data_pipeline.errors import DataError


class LeftOut(Exception):
    """A section, or a part of one, cannot be made of these runs; the message says why."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a stage has left.

    Attributes:
      name: in the config; `label`: in figures, with the run's where there are several runs.
      config: ConfigDict of the stage; `directory`: pathlib.Path.
      result: what result.json holds, "step" alone where nothing was measured; None while the stage
        is unfinished.
      metrics: list of the objects of metrics.jsonl.
      snapshots: steps of its checkpoints, ascending.
    """

    name: str
    label: str
    config: Any
    directory: pathlib.Path
    result: dict | None
    metrics: list[dict]
    snapshots: list[int]

    @property
    def is_measured(self):
        """Whether its result has figures of a target with labels."""
        return self.result is not None and label_free.is_measured(self.result)


class Run:
    """A workdir.

    Args:
      workdir: pathlib.Path.
      label: how figures call it where there are several, "" where it is the only one.
      config: ConfigDict that says where the data lie now; None for what the workdir says.

    Attributes:
      workdir, label, config: as given, config never None.
      class_names: K names.
      stages: list of Stage, those that have begun.
      results: what results.json holds, {} while the run is unfinished.
      dataset: what dataset.json holds.

    Raises:
      UserError: no workdir, no checkpoint, or a file of it is damaged.
    """

    def __init__(self, workdir, label="", config=None):
        self.workdir, self.label = pathlib.Path(workdir), label
        newest = open_workdir(workdir)  # says whatever is wrong with the workdir
        self.config = newest.config if config is None else config
        self.class_names = newest.class_names
        self.dataset = json_files.read(self.workdir / "dataset.json", REMEDY)
        path = self.workdir / "results.json"
        self.results = json_files.read(path, REMEDY) if path.exists() else {}
        found = [self._stage(name) for name in newest.config.stages]
        self.stages = [stage for stage in found if stage.snapshots or stage.result is not None]

    def _stage(self, name):
        directory = self.workdir / name
        path = directory / "result.json"
        return Stage(
            name=name,
            label=f"{self.label}: {name}" if self.label else name,
            config=self.config[name],
            directory=directory,
            result=json_files.read(path, REMEDY, keys=("step",)) if path.exists() else None,
            metrics=log.read_metrics(directory / "metrics.jsonl"),
            snapshots=checkpoint.steps(directory / "checkpoints"),
        )

    @property
    def task(self):
        """ "classification" or "segmentation"."""
        return self.config.task

    @property
    def verdicts(self):
        """{stage: what round.json holds} of the rounds of self-training."""
        return rounds.verdicts(self.workdir, [stage.name for stage in self.stages])

    def networks(self):
        """The stages that have a network of their own to look at."""
        return [
            stage
            for stage in self.stages
            if stage.snapshots and interface.is_evaluated(self._method_of(stage), stage.config)
        ]

    def _method_of(self, stage):
        key = f"config.{stage.name}.method"
        return methods.get(stage.config.method, self.task, key)

    @functools.cached_property
    def _opened(self):
        """(Domains, "") or (None, why they cannot be read)."""
        try:
            domains = tasks.get(self.task).open_data(self.config)
            fingerprints.check_data(domains, self.workdir, "eval")
            return domains, ""
        except (UserError, DataError) as error:
            return None, str(error)

    @property
    def data_problem(self):
        """Why the data cannot be read, or ""."""
        return self._opened[1]

    @property
    def domains(self):
        """tasks.common.Domains.

        Raises:
          LeftOut: they cannot be read.
        """
        domains, why = self._opened
        if domains is None:
            raise LeftOut(f"its images cannot be read: {why}")
        return domains


def open_runs(workdirs, configs=None):
    """Opens workdirs to be looked at together.

    Args:
      workdirs: list of paths.
      configs: list of ConfigDict or None, see Run; None for none.

    Returns:
      List of Run.

    Raises:
      UserError: see Run; or their tasks or classes differ.
    """
    labels = _short_names(workdirs) if len(workdirs) > 1 else [""]
    configs = [None] * len(workdirs) if configs is None else configs
    runs = [Run(*given) for given in zip(workdirs, labels, configs, strict=True)]
    first = runs[0]
    for run in runs[1:]:
        if run.task != first.task:
            raise UserError(
                f"--workdirs: {first.workdir} is {first.task} and {run.workdir} {run.task}; compare"
                " runs of one task"
            )
        if run.class_names != first.class_names:
            raise UserError(
                f"--workdirs: {first.workdir} has the classes {', '.join(first.class_names[:5])}"
                f" ... ({len(first.class_names)}), {run.workdir} {', '.join(run.class_names[:5])}"
                f" ... ({len(run.class_names)}); compare runs of the same classes"
            )
    return runs


def _short_names(workdirs):
    """The last part of each path; the whole path where that is not enough to tell them apart."""
    names = [pathlib.Path(workdir).name for workdir in workdirs]
    return [
        name if names.count(name) == 1 else str(workdir)
        for name, workdir in zip(names, workdirs, strict=True)
    ]
