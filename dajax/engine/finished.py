"""Whether a stage is finished: what it has left is there and whole, as far as others need it."""

import shutil

from dajax import console
from dajax.engine import checkpoint, json_files, rounds
from dajax.errors import UserError
from dajax.settings import starts_of


def result_of(stage, path):
    """What a finished stage has left in its result.json, or None where it is to be trained.

    Args:
      stage: train.Stage; path: of the file.

    Raises:
      UserError: the file is damaged, and there is no checkpoint.
    """
    if not path.exists():
        return None
    result = _read_result(stage, path)
    if result is None or _must_be_mended(stage, result["step"]):
        return None
    if _must_label_again(stage):
        path.unlink()
        shutil.rmtree(stage.directory / "checkpoints", ignore_errors=True)
        return None
    return result


def _read_result(stage, path):
    """What result.json holds; None where it is damaged and the checkpoint, which knows the same
    figures, is there.

    Raises:
      UserError: it is damaged, and there is no checkpoint.
    """
    try:
        result = json_files.parse(path.read_bytes(), keys=("step",))
        stage.task.check_result(result, stage.data.sets["source"].class_names)
        return result
    except (OSError, ValueError) as error:
        problem = f"{path}: is damaged ({error})"
        if checkpoint.exists(stage.directory):
            console.say(f"{problem}; its figures are taken from the checkpoint again")
            return None
        raise UserError(
            f"{problem}, and there is no checkpoint to take its figures from; remove it, and the"
            " stage is trained again"
        ) from error


def _must_be_mended(stage, last_step):
    """Whether a finished stage's last checkpoint is damaged and a stage is still to begin with it;
    an older one would be another start.
    """
    workdir = stage.directory.parent
    begins_with = {name: starts_of(stage.config[name].init_from) for name in stage.config.stages}
    heirs = [
        name
        for name, starts in begins_with.items()
        for start in starts
        if start in begins_with and rounds.kept_of(workdir, start) == stage.name
    ]
    if all(
        (workdir / name / "result.json").exists()
        or checkpoint.steps(workdir / name / "checkpoints")
        for name in heirs
    ):
        return False
    directory = stage.directory / "checkpoints"
    return (
        bool(checkpoint.steps(directory)) and checkpoint.newest_whole_step(directory) != last_step
    )


def _must_label_again(stage):
    """Whether the pseudo-labels of a finished stage are gone or damaged and a stage is still to be
    trained on them; says so.
    """
    workdir, config = stage.directory.parent, stage.config
    heirs = [
        name
        for name in config.stages
        if "labels_from" in config[name]
        and config[name].labels_from == stage.name
        and not (workdir / name / "result.json").exists()
    ]
    problem = stage.data.problem_of_pseudo_labels() if heirs else None
    if problem is not None:
        console.say(f"{problem}; {stage.name} makes its pseudo-labels again")
    return problem is not None
