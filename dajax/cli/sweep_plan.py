"""What a sweep consists of: seeds and tasks of the command line, as runs with a workdir each."""

import dataclasses
import pathlib
import re
import zlib
from typing import Any

from dajax.analysis import sweep_tables
from dajax.cli import recipe
from dajax.engine import config_ranges, json_files, locations
from dajax.engine.config_check import check_config, flatten, is_begun
from dajax.engine.other_workdir import find, is_path
from dajax.errors import UserError
from dajax.recipes.base.arguments import WORDS

_LONGEST_NAME = 100  # of a folder; file systems allow 255 bytes


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One training run of a sweep.

    task: its column, "" where there is only one. workdir: its own.
    """

    task: str
    seed: int
    recipe: str
    overrides: tuple[str, ...]
    workdir: pathlib.Path
    config: Any

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


def make_run(task, seed, name, overrides, workdir):
    """A Run of the recipe `name`.

    Raises:
      UserError: a recipe that cannot be read, a number out of its range, a workdir that was begun
        with another config, or no such stage of another workdir to begin with.
    """
    overrides = (*overrides, f"--config.seed={seed}")
    config = recipe.read(name, overrides)
    flat = flatten(config.to_dict())
    config_ranges.check_writable(flat)
    locations.check_config(flat)
    config_ranges.check(flat)
    if config.task in sweep_tables.METRICS:  # an unknown task is every run's to refuse
        sweep_tables.check_metric(config)
    if (workdir / "config.json").exists() and is_begun(workdir):
        check_config(config, workdir)
    for stage in config.stages:
        # a mistake there would end every run of the sweep in turn
        start = config[stage].init_from
        if is_path(start) and not is_begun(workdir / stage):
            find(stage, start, task=config.task, workdir=workdir)
    return Run(task, seed, name, overrides, workdir, config)


def plan(name, seeds, tasks, overrides, workdir, default_seed):
    """The runs of a sweep, task by task; the arguments are those of sweep.run.

    Raises:
      UserError: a mistake in them, or a workdir that was begun with another config.
    """
    if seeds is not None and any(re.match(r"--?config\.seed(=|$)", word) for word in overrides):
        raise UserError(
            "--seeds and --config.seed both say which seed to run; leave one of them out"
        )
    numbers = (default_seed,) if seeds is None else parse_seeds(seeds)
    if tasks is None:
        return [make_run("", seed, name, overrides, workdir / f"seed{seed}") for seed in numbers]
    return [
        make_run(
            title,
            seed,
            recipe.with_argument(name, argument),
            overrides,
            workdir / f"{folder}-seed{seed}",
        )
        for title, (argument, folder) in parse_tasks(tasks).items()
        for seed in numbers
    ]


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


def parse_tasks(text):
    """ "source=a,target=b;..." -> {title of the column: (argument, folder name)}. Raises:
    UserError.
    """
    tasks = [",".join(item.strip() for item in task.split(",")) for task in text.split(";")]
    for task in tasks:
        items = task.split(",")
        if (
            not all(items)
            or not all(re.fullmatch(r"[\w-]+=.*", item) or item in WORDS for item in items[1:])
            or items[0].startswith("=")
        ):
            raise UserError(
                f"--tasks: '{task}' is no task; expected [variant,]key=value,... and ';' between"
                " tasks"
            )
    titles = [_title(task, lambda value: pathlib.PurePath(value).name or value) for task in tasks]
    if len(set(titles)) < len(titles):
        titles = tasks
    folders = [_folder(_title(task, str)) for task in tasks]
    for i, folder in enumerate(folders):
        if folder in folders[:i]:
            raise UserError(
                f"--tasks: '{tasks[i]}' stands there twice (its folder would be {folder}); name"
                " each task once"
            )
    return dict(zip(titles, zip(tasks, folders, strict=True), strict=True))


def _title(task, shorten):
    """ "folder,root=D,source=a,target=b" -> "folder a->b root=D"."""
    items = task.split(",")
    values = dict(item.split("=", 1) for item in items if "=" in item)
    words = [item for item in items if "=" not in item]
    if "source" in values and "target" in values:
        words.append(f"{shorten(values.pop('source'))}->{shorten(values.pop('target'))}")
    return " ".join(words + [f"{key}={shorten(value)}" for key, value in values.items()])


def _folder(title):
    name = re.sub(r"[^\w.+=-]+", "-", title.replace("->", "-to-")).strip("-.")
    return (
        name
        if len(name) <= _LONGEST_NAME
        else f"{name[:_LONGEST_NAME]}-{zlib.crc32(title.encode()):08x}"
    )
