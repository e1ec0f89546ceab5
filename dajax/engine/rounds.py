"""Rounds of training on pseudo-labels: whether one has made the network worse than the one that it
began with, and which of the two goes on.

Judged without a label of the target, by what the task's `view_agreement` measures. A stage of a
round has a key `when_worse`; its verdict stands in <workdir>/STAGE/round.json.
"""

from dajax import console, processes
from dajax.engine import json_files, teacher
from dajax.errors import UserError
from dajax.settings import choice, part_of_config

KEY, FILE = "when_worse", "round.json"
# "warn": a later stage begins with the round in any case. "keep_better": with the better one.
CHOICES = ("warn", "keep_better")
JUDGED_BY = "mean_class_agreement"
_REMEDY = "remove that file, and the stage counts as kept"


def check(name, config, task):
    """Checks the key of a stage that has it.

    Raises:
      UserError: an unknown word; the task cannot judge; nothing is measured to judge by.
    """
    if KEY not in config[name]:
        return
    with part_of_config(f"config.{name}"):
        word = choice(config[name], KEY, CHOICES)
    if not hasattr(task, "view_agreement"):
        raise UserError(
            f"config.{name}.{KEY}='{word}': rounds of {config.task} are not judged; leave it out of"
            " the recipe"
        )
    if word == "keep_better" and not config.evaluation.agreement_batches:
        raise UserError(
            f"config.{name}.{KEY}='keep_better': config.evaluation.agreement_batches=0 measures"
            " nothing to choose by; set that above 0 (16)"
        )


def conclude(stage, state):
    """Compares a round with what it began with, and writes the verdict; a stage that is no round,
    or has its verdict, is left alone.

    Args:
      stage: train.Stage that has just ended; state: its TrainState.
    """
    path = stage.directory / FILE
    is_judged = KEY in stage.stage_config and stage.config.evaluation.agreement_batches
    if not is_judged or processes.from_first_object(path.exists):
        return
    try:
        start = stage.starting_state()
    except UserError as error:  # what it began with was moved since; the round itself is whole
        console.say(f"{stage.name}: not compared with what it began with ({error})")
        return

    def measure(state):
        return stage.task.view_agreement(
            teacher.predicting(state, stage.stage_config),
            data=stage.data,
            model=stage.model,
            config=stage.config,
            stage_config=stage.stage_config,
        )

    before, after = measure(start), measure(state)
    workdir, begun_with = stage.directory.parent, stage.stage_config.init_from
    kept, is_worse = stage.name, after[JUDGED_BY] < before[JUDGED_BY]
    may_choose = stage.stage_config[KEY] == "keep_better" and begun_with in stage.config.stages
    if is_worse and may_choose:
        kept = kept_of(workdir, begun_with)
    verdict = {"before": before, "after": after, "is_worse": is_worse, "kept": kept}
    json_files.write(path, verdict)
    console.say_wrapped(f"{stage.name}: {_words(verdict, kept == stage.name)}")


def _words(verdict, is_kept):
    before, after = (verdict[key][JUDGED_BY] for key in ("before", "after"))
    figures = f"{after:.1f} %, of the network that it began with {before:.1f} %"
    said = f"agreement of unlabelled target images with their mirrored copies {figures}"
    if not verdict["is_worse"]:
        return said
    then = "look at the labels that it was trained on, or stop before it"
    if not is_kept:
        then = f"{verdict['kept']} is kept, and later stages begin with it"
    return f"warning: the round may have made it worse: {said}; {then}"


def kept_of(workdir, name):
    """The stage whose networks a stage that names `name` in init_from begins with."""
    path = workdir / name / FILE
    return _read(path)["kept"] if path.exists() else name


def _read(path):
    return json_files.read(path, _REMEDY, keys=("before", "after", "is_worse", "kept"))


def verdicts(workdir, stages):
    """{stage: verdict} of the stages that have one."""
    paths = {name: workdir / name / FILE for name in stages}
    return {name: _read(path) for name, path in paths.items() if path.exists()}


def marked(results, config, found):
    """(results with a star behind the kept stage of each chain of rounds that may keep the better
    one, a line that says so or "").

    Args:
      results: {stage: result}; found: of `verdicts`.
    """
    choosing = [name for name in found if config[name][KEY] == "keep_better"]
    followed = {config[name].init_from for name in choosing}
    stars = {found[name]["kept"] for name in choosing if name not in followed}
    if not stars:
        return results, ""
    named = {f"{name}*" if name in stars else name: x for name, x in results.items()}
    return named, (
        "* kept: of these rounds, the one whose predictions for unlabelled target images and for"
        " their mirrored copies agree most"
    )
