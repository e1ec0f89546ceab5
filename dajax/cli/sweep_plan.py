"""What a sweep consists of: seeds and tasks of the command line, as runs with a workdir each."""

import dataclasses
import pathlib
import re
from typing import Any

from dajax.analysis import sweep_tables
from dajax.cli import recipe, sweep_tasks
from dajax.engine import config_ranges, json_files, locations, wandb_run
from dajax.engine.config_check import check_config, flatten, is_begun
from dajax.engine.other_workdir import find, is_path
from dajax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One training run of a sweep.

    task: its column, "" where there is only one. workdir: its own. settings: those of the overrides
    that are its column's own.
    """

    task: str
    seed: int
    recipe: str
    overrides: tuple[str, ...]
    workdir: pathlib.Path
    config: Any
    settings: tuple[str, ...] = ()

    def label(self):
        """E.g. "amazon->webcam seed 1"."""
        return f"{self.task} seed {self.seed}".strip()

    def is_finished(self):
        """Whether its results are there, whole: a run whose files are damaged is called again, and
        mends what its checkpoints know.
        """
        return _read(self.workdir / "results.json") is not None and all(
            self.result_of(stage) is not None for stage in self.config.stages
        )

    def result_of(self, stage):
        """What a stage's result.json holds; None where it is absent or damaged."""
        return _read(self.workdir / stage / "result.json")


def _read(path):
    try:
        return json_files.parse(path.read_bytes())
    except (OSError, ValueError):
        return None


def make_run(task, seed, name, overrides, workdir, settings=()):
    """A Run of the recipe `name`; its `settings` are overrides that come after the others.

    Raises:
      UserError: a recipe that cannot be read, a number out of its range, a workdir that was begun
        with another config, or no such stage of another workdir to begin with.
    """
    overrides = (*overrides, *settings, f"--config.seed={seed}")
    config = recipe.read(name, overrides)
    flat = flatten(config.to_dict())
    config_ranges.check_writable(flat)
    locations.check_config(flat)
    config_ranges.check(flat)
    wandb_run.check(config)
    if config.task in sweep_tables.METRICS:  # an unknown task is every run's to refuse
        sweep_tables.check_metric(config)
    if (workdir / "config.json").exists() and is_begun(workdir):
        check_config(config, workdir)
    for stage in config.stages:
        # a mistake there would end every run of the sweep in turn
        start = config[stage].init_from
        if is_path(start) and not is_begun(workdir / stage):
            find(stage, start, task=config.task, workdir=workdir)
    return Run(task, seed, name, overrides, workdir, config, tuple(settings))


def plan(name, seeds, tasks, overrides, workdir, default_seed):
    """The runs of a sweep, task by task; the arguments are those of sweep.run.

    Raises:
      UserError: a mistake in them, or a workdir that was begun with another config.
    """
    numbers = numbers_of(seeds, overrides, default_seed)
    if tasks is None:
        return [make_run("", seed, name, overrides, workdir / f"seed{seed}") for seed in numbers]
    runs = []
    for title, task in sweep_tasks.parse(tasks).items():
        own = recipe.with_argument(name, task.argument) if task.argument else name
        for seed in numbers:
            folder = workdir / f"{task.folder}-seed{seed}"
            try:
                runs.append(make_run(title, seed, own, overrides, folder, task.settings))
            except UserError as error:
                words = ",".join([task.argument] * bool(task.argument) + [*task.settings])
                raise UserError(f"--tasks, '{words}': {error}") from error
    _check_differ(runs)
    return runs


def _check_differ(runs):
    """Raises UserError where two columns are the same run: 0.001 and 1e-3."""
    seen = {}
    for one in runs:
        same = seen.setdefault(one.config.to_json(), one)
        if same is not one and one.settings:
            raise UserError(
                f"--tasks: '{same.task}' and '{one.task}' are the same run; name each once"
            )


def numbers_of(seeds, overrides, default_seed):
    """The seeds that a command line asks for; arguments as of sweep.run.

    Raises:
      UserError: they are none, or an override names one too.
    """
    if seeds is not None and any(re.match(r"--?config\.seed(=|$)", word) for word in overrides):
        raise UserError(
            "--seeds and --config.seed both say which seed to run; leave one of them out"
        )
    return (default_seed,) if seeds is None else parse_seeds(seeds)


def parse_seeds(text):
    """ "0,1,2" -> (0, 1, 2). Raises: UserError."""
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch("[0-9]+", word) for word in words):
        raise UserError(
            f"--seeds='{text}': expected whole numbers with commas between them, for example"
            " --seeds=0,1,2"
        )
    seeds = tuple(map(int, words))
    if len(set(seeds)) < len(seeds):
        raise UserError(
            f"--seeds='{text}': a seed stands there twice, and the same run twice is no second"
            " measurement; name each once"
        )
    return seeds
