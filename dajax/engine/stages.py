"""A run: its stages in order. Done? skip. Begun? resume. Else start, from `init_from` where the
stage names one.
"""

import contextlib
import dataclasses
import json
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dajax import console, parallel, processes, tasks
from dajax.analysis import report
from dajax.engine import (
    checkpoint,
    environment,
    finished,
    folder_lock,
    init_from,
    json_files,
    log,
    rounds,
    run_output,
    snapshots,
    teacher,
    wandb_run,
)
from dajax.engine.config_check import (
    check_config,
    forget_unless_begun,
    remember,
)
from dajax.engine.fingerprints import check_data, check_weights
from dajax.engine.signals import StopFlag
from dajax.engine.stage_checks import check_alike, check_batches, method_of
from dajax.engine.train import Stage, fit
from dajax.errors import UserError
from dajax.label_free import LAST
from dajax.methods import Sizes, interface
from dajax.settings import part_of_config


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
            run_ = _open(config, workdir, mode, select, print_config, stop, held)
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


class _Open(NamedTuple):
    """A run whose config, data and workdir have passed all checks; `chosen` is of mode "eval"."""

    stages: list
    chosen: dict
    domains: Any
    devices: list


def _open(config, workdir, mode, select, print_config, stop, held):
    """Checks everything that can be checked before the first step, and writes down with what the
    workdir is begun: an _Open. The workdir is this run's own for as long as the ExitStack `held`.
    """
    devices = parallel.devices(config.runtime.devices)
    check_batches(config, len(devices))
    if mode == "train":
        wandb_run.check(config)
        # an evaluation reads what is there, of a run under way too, and writes a file of its own
        if processes.is_first():
            held.enter_context(folder_lock.owned(workdir))
        _prepare(workdir)
        forget_unless_begun(workdir)
    elif not (workdir / "config.json").exists():
        raise UserError(f"--workdir={workdir}: nothing to evaluate there; run --mode=train first")
    places = check_config(config, workdir)
    chosen = snapshots.choose_each(workdir, config.stages, select)
    waiting = _waiting(config, workdir) if mode == "train" else []
    origins = init_from.origins(config, workdir, waiting)
    environment.check(workdir, mode)
    environment.use_compilation_cache(config.runtime.compilation_cache)

    task = tasks.get(config.task)
    domains = task.open_data(config)
    tasks.check_start(config, domains, training=mode == "train")
    check_data(domains, workdir, mode)
    init_from.check_classes(origins, domains.class_names)
    if mode == "train":
        _check_weights(config, workdir, places)
        if hasattr(task, "write_classes") and processes.is_first():
            task.write_classes(domains, workdir)
        if hasattr(task, "check_labels"):
            task.check_labels(config, domains, workdir)
    data_lines = task.describe(config, domains)
    run_output.print_header(config, workdir, devices, data_lines, print_config)
    for key, (there, now) in places.items():
        console.say(f"moved: config.{key} was {there}, is {now}")
    stages = [
        _make_stage(config, name, workdir, devices, task, domains, stop, origins.get(name))
        for name in config.stages
    ]
    if mode == "train":
        remember(config, workdir)
        init_from.remember(origins, config, workdir)
    return _Open(stages, chosen, domains, devices)


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


def _waiting(config, workdir):
    """The stages that have saved nothing: they begin with what `init_from` or the weights give."""
    return [
        name
        for name in config.stages
        if not (workdir / name / "result.json").exists() and not checkpoint.exists(workdir / name)
    ]


def _check_weights(config, workdir, places):
    """The weights' file is the one that the workdir was begun with, where a stage has yet to load
    it.
    """
    waiting = _waiting(config, workdir)
    is_needed = any(not config[name].init_from for name in waiting)
    is_begun = len(waiting) < len(config.stages)
    check_weights(
        config.model.weights, workdir, is_needed=is_needed, is_begun=is_begun, places=places
    )


def _prepare(workdir):
    """Creates the workdir and makes sure that it can be written to, before hours are spent. The
    processes that do not write make sure that they see the first one's.
    """
    if not processes.is_first():
        if not (workdir / "config.json").exists():
            raise UserError(
                f"--workdir={workdir}: does not hold what the first process has written there; it"
                " must lie on a file system that all processes see"
            )
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"--workdir={workdir}: cannot be written to ({error.strerror}); choose another"
            " --workdir"
        ) from error


def _make_stage(config, name, workdir, devices, task, domains, stop, origin):
    stage_config, directory = config[name], workdir / name
    method = method_of(config, name)
    with part_of_config(f"config.{name}"):
        model = task.build_model(config, stage_config, domains)
    data = task.make_feed(domains, config, name, directory=directory, devices=devices, stop=stop)
    sizes = Sizes(
        source=len(domains.source),
        target=len(domains.target),
        num_sources=max(len(domains.sources), 1),  # segmentation does not keep them apart
    )

    def networks():
        images = jnp.zeros((2, *domains.image_shape), jnp.float32)
        # the same for every stage: the same seed is the same random network
        rng = jax.random.key(config.seed)
        with part_of_config(f"config.{name}"):
            return method.init(rng, images, config=stage_config, model=model, sizes=sizes)

    def begun(state):
        with part_of_config(f"config.{name}"):
            return interface.at_start(
                method, teacher.begin(state, stage_config), config=stage_config, model=model
            )

    def random_state():
        return begun(networks())

    def initial_state():
        if stage_config.init_from:
            state = init_from.begin(networks(), config, name, workdir)
        else:
            state = task.load_pretrained(config, networks())
        return begun(state)

    shapes = jax.eval_shape(random_state)  # first, since a method may know better what it wants
    _check_norm_sets(name, stage_config, domains)
    with part_of_config(f"config.{name}"):  # not hours later, when the stage begins
        interface.check_data(method, shapes, data=data, config=stage_config, model=model)
    if origin is not None:
        init_from.check_networks(origin, shapes, config)
    console.say(
        f"{name}: {report.describe_parameters(shapes.params, model.frozen_parameters())}"
        + teacher.describe(stage_config)
    )
    return Stage(
        name=name,
        config=config,
        stage_config=stage_config,
        method=method,
        model=model,
        data=data,
        task=task,
        directory=directory,
        initial_state=initial_state,
        random_state=random_state,
        stop=stop,
    )


def _check_norm_sets(name, stage_config, domains):
    """The target's own set of normalisation statistics is number 1, or beside one for each of
    several sources the last one.
    """
    known = (0, 1, max(len(domains.sources), 1))
    found = stage_config.get("target_bn", 0)
    if found not in known:
        raise UserError(
            f"config.{name}.target_bn={found}: expected"
            f" {' or '.join(map(str, dict.fromkeys(known)))}: 0, one set of normalisation"
            " statistics for all; 1, the target has its own; the number of several sources, each"
            " domain has its own"
        )


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
