"""A run: its stages in order. Done? skip. Begun? resume. Else start, from `init_from` where the
stage names one.
"""

import contextlib
import dataclasses
import json
import pathlib

import jax.numpy as jnp

from dajax import console, processes, tasks
from dajax.analysis import report
from dajax.engine import (
    checkpoint,
    environment,
    finished,
    init_from,
    json_files,
    log,
    opening,
    rounds,
    run_output,
    snapshots,
    teacher,
    wandb_run,
)
from dajax.engine.signals import StopFlag
from dajax.engine.stage_checks import check_alike
from dajax.engine.train import fit
from dajax.errors import UserError
from dajax.label_free import LAST
from dajax.methods import interface


def run(config, workdir, mode, select=LAST, print_config=False):
    """Trains (mode "train") or evaluates what is there (mode "eval"), writes results and prints the
    table.

    Args:
      config: ConfigDict, see configs/base/common.py, which check_before_data has passed.
      workdir: folder, created.
      mode: "train" or "eval".
      select: of mode "eval", which snapshot of each stage: one of label_free.CHOICES.
      print_config: every setting is printed.

    Raises:
      UserError, data_pipeline DataError: a mistake that the user can mend, or another process
        trains in the workdir.
      StopRequested: stopped by a signal; everything is saved.
    """
    workdir = pathlib.Path(workdir)
    check_alike(config)
    stop = StopFlag(processes.agreed, processes.Agreement())
    with contextlib.ExitStack() as held:
        with processes.first_before_others("the workdir is open"):
            run_ = opening.open_run(config, workdir, mode, select, print_config, stop, held)
        _run(config, workdir, mode, select, run_, stop)


def _run(config, workdir, mode, select, run_, stop):
    """`run` in a workdir that has been opened."""
    if mode == "train":
        with wandb_run.begun(config, workdir) as tracker, stop.listening():
            tracked = [
                dataclasses.replace(stage, trackers=tracker.of_stage(stage.name))
                for stage in run_.stages
            ]
            results = {stage.name: _train(stage) for stage in tracked}
    else:
        results = {stage.name: _evaluate(stage, run_.chosen[stage.name]) for stage in run_.stages}
    if processes.is_first():
        _conclude(config, workdir, mode, select, run_, results)


def _conclude(config, workdir, mode, select, run_, results):
    """Writes the results of all stages, and prints them as a table."""
    key, title = run_output.headline_figure(config)
    picked = snapshots.picks(workdir, config.stages, key)
    content = {
        "stages": results,
        "refreshes": log.last_refreshes(workdir, config.stages),
        "rounds": rounds.verdicts(workdir, config.stages),
        "select": select,
        "snapshots": picked,
        "config": json.loads(config.to_json()),
        "versions": report.versions(),
        "environment": environment.numerics(),
        "devices": report.describe_devices(run_.devices),
    }
    run_output.write_results(workdir, mode, content)
    results, remark = rounds.marked(results, config, content["rounds"])
    how = run_output.how_chosen(run_.chosen, select)
    further, task = snapshots.table(picked, key, title), tasks.get(config.task)
    run_output.print_table(results, task, run_.domains, workdir, how, [remark, further], select)


def _train(stage):
    """The result of a stage, trained now or found finished."""
    path = stage.directory / "result.json"
    result = processes.from_first_object(lambda: finished.result_of(stage, path))
    if result is not None:
        console.say(f"{stage.name}: already finished")
        return result
    stage.stop.idle()  # what the stages before have made is saved
    state, evaluation = fit(stage)
    stage.stop.busy()
    rounds.conclude(stage, state)
    result = {"step": int(state.step), **(evaluation or {})}
    json_files.write(path, result)
    return result


def _evaluate(stage, step):
    """The result of a stage's checkpoint of a step, None for the newest, evaluated now."""
    directory = stage.directory / "checkpoints"
    if not checkpoint.steps(directory):
        remedy, result = "run --mode=train first", stage.directory / "result.json"
        if result.exists():  # training would take it for finished
            remedy = (
                f"put them back from a copy, or remove {result} and run --mode=train to train the"
                " stage again"
            )
        raise UserError(f"{stage.name}: has no checkpoint under {directory}; {remedy}")
    saved, _ = checkpoint.read(directory, step)
    state = init_from.with_networks(
        stage.random_state(),
        teacher.predicting(saved, stage.stage_config),
        what=f"the checkpoint of {stage.name}",
    ).replace(step=jnp.asarray(saved["step"]))
    if not interface.is_evaluated(stage.method, stage.stage_config):
        return {"step": int(state.step)}
    evaluation = stage.task.evaluate(
        state,
        data=stage.data,
        model=stage.model,
        config=stage.config,
        stage_config=stage.stage_config,
    )
    return {"step": int(state.step), **(evaluation.report or {})}
