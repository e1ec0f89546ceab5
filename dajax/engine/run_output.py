"""What a run prints at its head and at its end, and the file of its results."""

import json
import shlex
import sys

from dajax import console
from dajax.analysis import report, sweep_tables
from dajax.engine import environment, json_files
from dajax.engine.config_check import FREE_KEY, REMEDY, flatten
from dajax.engine.old_config import with_added_keys
from dajax.label_free import LAST, RULES, is_measured
from dajax.tasks.common import image_folder


def write_results(workdir, mode, content):
    """Writes results.json (mode "train") or eval.json (mode "eval").

    A finished run that is called again keeps its results.json: versions and devices in it are those
    that made the figures.
    """
    if mode == "train":
        path = workdir / "results.json"
        if not _has_figures(path, content["stages"]):
            json_files.write(path, content)
        return
    try:
        json_files.write(workdir / "eval.json", content)
    except OSError as error:  # of somebody else, archived: the table is what was asked for
        console.say(
            f"{workdir / 'eval.json'}: cannot be written ({error.strerror}); the figures are in the"
            " table alone"
        )


def _has_figures(path, stages):
    """Whether a whole results.json is there with these figures."""
    try:
        return json_files.parse(path.read_bytes())["stages"] == stages
    except (OSError, ValueError, KeyError):
        return False


def print_header(config, workdir, devices, data_lines, print_config=False):
    """Prints what a run is made of: versions, devices, where its settings stand, and the task's
    lines on its data.

    Args:
      print_config: the settings too.
    """
    console.say(
        "versions: " + ", ".join(f"{name} {version}" for name, version in report.versions().items())
    )
    console.say(f"devices: {report.describe_devices(devices)}")
    console.say(f"workdir: {workdir}")
    console.say(
        "environment: "
        + ", ".join(f"{name}={value}" for name, value in environment.numerics().items())
    )
    flat = flatten(json.loads(config.to_json()))
    console.say(
        f"config: {len(flat)} settings, in {workdir / 'config.json'}{_changed_since(flat, workdir)}"
        + ("" if print_config else "; --print_config shows them")
    )
    for key, value in sorted(flat.items()) if print_config else ():
        console.say(f"  {key} = {value}")
    for line in data_lines:
        console.say(line)
    console.say(
        f"metric: {config.metric} on every evaluation image of the target, at the last step of each"
        " stage"
    )


def _changed_since(flat, workdir):
    """Settings of config.runtime that differ from those that the workdir was begun with: they may,
    and config.json stays.
    """
    begun = flatten(with_added_keys(json_files.read(workdir / "config.json", REMEDY)))
    changed = [
        f"{key}={value}"
        for key, value in sorted(flat.items())
        if key.startswith(f"{FREE_KEY}.") and begun.get(key, value) != value
    ]
    return f", but for {', '.join(changed)}" if changed else ""


def headline_figure(config):
    """(key in a report, name) of the figure that config.metric names: ("miou", "mIoU")."""
    (key,), _ = sweep_tables.CLASSIFICATION.get(config.metric, (("miou",), ""))
    return key, config.metric


def how_chosen(chosen, select):
    """Which snapshots a table shows, for its title.

    Args:
      chosen: {stage: step, None for the newest}; select: the rule, one of label_free.CHOICES.
    """
    if select == LAST:
        return "last step"
    others = [name for name, step in chosen.items() if step is None]
    rest = f" (of {', '.join(others)}, evaluated once at most: last step)" if others else ""
    return f"snapshots chosen without labels by {select}, {RULES[select].title}{rest}"


def print_table(results, task, domains, workdir, chosen, further, select=LAST):
    """Prints the stages side by side; without labels how to have predictions.

    Args:
      results: {stage: what its result.json holds}.
      domains: tasks.common.Domains.
      chosen: of `how_chosen`.
      further: what else is said of the results, "" for nothing.
      select: which snapshots they are of, one of label_free.CHOICES.
    """
    further = [text for text in further if text]
    evaluated = {name: result for name, result in results.items() if is_measured(result)}
    console.say()
    if not evaluated:
        for text in further:
            console.say(text + "\n")
        several = f"all {len(results)} stages are" if len(results) > 1 else "the stage is"
        console.say(
            f"{several} finished; {domains.evaluation.name} has no labels, so there is nothing to"
            " measure on. What the last stage says of its images: as files, in Python, and a report"
            " of the run:"
        )
        images = image_folder(domains.evaluation) or "FOLDER"
        rule = "" if select == LAST else f", select={select!r}"
        chosen_by = [] if select == LAST else [f"--select={select}"]
        name = f"{workdir}-predictions" + ("" if select == LAST else f"-{select}")
        out = [f"--images={images}", f"--out={name}"]
        console.say(f"  {_command('predict', workdir, [*out, *chosen_by])}")
        console.say(f"  dajax.load({str(workdir)!r}{rule}).predict(paths)")
        console.say(f"  {_command('analyze', workdir, [])}")
        return
    console.say(task.table(evaluated, domains, chosen))
    for text in further:
        console.say("\n" * ("\n" in text) + text)


def _command(mode, workdir, words):
    """A command on the run's workdir, as this process was called."""
    program = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    return shlex.join([*program, f"--mode={mode}", f"--workdir={workdir}", *words])
