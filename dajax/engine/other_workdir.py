"""A finished stage of another workdir, as far as its JSON files tell. Imports no jax: a sweep looks
here before its first run.
"""

import dataclasses
import os
import pathlib
from typing import Any

from dajax.engine import json_files, locations
from dajax.engine.old_config import with_added_keys
from dajax.errors import UserError

_NAME_ONE = "name the folder of a finished stage, runs/NAME/STAGE"
_REMEDY = "it belongs to the other workdir: run.py with that --workdir says how it is mended"


@dataclasses.dataclass(frozen=True)
class FinishedStage:
    """A stage that a stage of another run can begin with.

    Attributes:
      what: the key and value that name it, for messages.
      folder: of the stage, absolute. step: of its last checkpoint.
      config: the run's config.json, with the keys that were added since.
      class_names: K names.
    """

    what: str
    folder: pathlib.Path
    step: int
    config: dict[str, Any]
    class_names: tuple[str, ...]

    @property
    def stage_config(self):
        """The stage's own part of the config."""
        return self.config[self.folder.name]

    @property
    def model_config(self):
        """The network's part of the config; {} where an editor has damaged it."""
        return _group(self.config, "model")


def is_path(init_from):
    """Whether an `init_from` names a folder; a stage of the same run is named by its key alone."""
    return "/" in init_from


def find(name, init_from, *, task, workdir):
    """The stage that config.<name>.init_from names.

    Args:
      name: of the stage that begins with it.
      init_from: a folder, for which `is_path` holds; `~` is expanded.
      task: config.task of the run that begins with it. workdir: that run's.

    Returns:
      FinishedStage.

    Raises:
      UserError: it is no stage of a workdir, of another task, unfinished, or its files are damaged.
    """
    key = f"config.{name}.init_from"
    what = f"{key}={init_from}"
    folder = pathlib.Path(os.path.abspath(locations.local_path(init_from, key)))
    if not folder.is_dir():
        raise UserError(f"{what}: there is no such folder; {_NAME_ONE}")
    if (folder / "config.json").exists():
        raise UserError(f"{what}: is a workdir, not one of its stages; {_NAME_ONE}")
    if folder.parent.resolve() == pathlib.Path(workdir).resolve():
        raise UserError(f"{what}: is of this very run; name its stage alone, --{key}={folder.name}")
    if not (folder.parent / "config.json").exists():
        raise UserError(f"{what}: does not lie in a workdir of dajax; {_NAME_ONE}")
    config = with_added_keys(_read(what, folder.parent / "config.json", "stages", "task"))
    if config["task"] != task:
        raise UserError(f"{what}: is a stage of {config['task']}, this run is one of {task}")
    if folder.name not in _stages(config):
        raise UserError(
            f"{what}: {folder.parent} has no such stage; its stages:"
            f" {', '.join(_stages(config)) or 'none'}"
        )
    if not (folder / "result.json").exists():
        raise UserError(
            f"{what}: is not finished; run that workdir to its end, or choose a finished stage"
        )
    names = _read(what, folder.parent / "dataset.json", "class_names")["class_names"]
    step = _read(what, folder / "result.json", "step")["step"]
    return FinishedStage(what, folder, step, config, tuple(names))


def _stages(config):
    """The stages of a config.json whose settings are there; of a damaged one, fewer."""
    names = config["stages"] if isinstance(config["stages"], list) else []
    whole = [name for name in names if isinstance(name, str)]
    return [name for name in whole if "predict_with" in _group(config, name)]


def _group(config, name):
    return config[name] if isinstance(config.get(name), dict) else {}


def _read(what, path, *keys):
    try:
        return json_files.read(path, _REMEDY, keys=keys)
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
