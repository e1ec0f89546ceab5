"""A run: its stages in order. Done? skip. Begun? resume. Else start, from `init_from` where the stage names one."""

import json
import os
import pathlib

import jax
import jax.numpy as jnp

from dajax import checkpoint, log, parallel, report, tasks
from dajax.config_check import check_config, check_data, flatten
from dajax.errors import UserError
from dajax.methods import get as get_method
from dajax.signals import StopFlag
from dajax.state import adopt
from dajax.train import Stage, fit


def run(config, workdir, mode):
    """Trains (mode "train") or evaluates what is there (mode "eval"), writes results and prints the table.

    Args:
      config: ConfigDict, see configs/base.py.
      workdir: folder, created.
      mode: "train" or "eval".

    Raises:
      UserError, data_pipeline DataError: a mistake that the user can mend.
      StopRequested: stopped by a signal; everything is saved.
    """
    workdir = pathlib.Path(workdir)
    _check_stages(config)
    devices = parallel.devices(config.runtime.devices)
    if mode == "train":
        _prepare(workdir)
    elif not (workdir / "config.json").exists():
        raise UserError(f"--workdir={workdir}: nothing to evaluate there; run --mode=train first")
    check_config(config, workdir)
    _use_compilation_cache(config.runtime.compilation_cache)

    task = tasks.get(config.task)
    domains = task.open_data(config)
    tasks.check_start(config, domains, training=mode == "train")
    check_data(domains, workdir)
    _print_header(config, workdir, devices, task.describe(config, domains))

    stop = StopFlag()
    stages = [_make_stage(config, name, workdir, devices, task, domains, stop) for name in config.stages]
    with stop.listening():
        results = {stage.name: (_train(stage) if mode == "train" else _evaluate(stage)) for stage in stages}
    content = {"stages": results, "config": json.loads(config.to_json()), "versions": report.versions()}
    log.write_json(workdir / ("results.json" if mode == "train" else "eval.json"), content)
    _print_table(results, task, domains)


def _check_stages(config):
    seen = []
    for name in config.stages:
        if name not in config or "method" not in config[name]:
            raise UserError(f"config.stages names '{name}', which is no stage of this config; known: {', '.join(_stage_names(config))}")
        get_method(config[name].method)
        start = config[name].init_from
        if start and start not in seen:
            raise UserError(f"config.{name}.init_from='{start}' is not a stage before it; stages: {', '.join(config.stages)}")
        seen.append(name)


def _stage_names(config):
    return [name for name, value in config.items() if hasattr(value, "keys") and "method" in value]


def _prepare(workdir):
    """Creates the workdir and makes sure that it can be written to, before hours are spent."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UserError(f"--workdir={workdir}: cannot be written to ({error.strerror}); choose another --workdir") from error


def _use_compilation_cache(directory):
    if directory:
        path = pathlib.Path(os.path.expanduser(directory))
        path.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(path))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)  # a run compiles dozens of small programs too


def _make_stage(config, name, workdir, devices, task, domains, stop):
    stage_config, directory = config[name], workdir / name
    method = get_method(stage_config.method)
    model = task.build_model(config, stage_config, domains)
    data = task.make_feed(domains, config, name, directory=directory, devices=devices, check_stop=stop.check)
    num_images = {"source": len(domains.source), "target": len(domains.target), "sources": len(domains.sources)}

    def random_state():
        images = jnp.zeros((2, *domains.image_shape), jnp.float32)
        rng = jax.random.key(config.seed)  # the same for every stage: the same seed is the same random network
        return method.init(rng, images, config=stage_config, model=model, num_images=num_images)

    def initial_state():
        if not stage_config.init_from:
            return task.load_pretrained(config, random_state())
        saved, _ = checkpoint.read(workdir / stage_config.init_from / "checkpoints")
        return _begin_with(random_state(), saved, what=f"config.{name}.init_from={stage_config.init_from}")

    log.say(f"{name}: {report.describe_parameters(jax.eval_shape(random_state).params, model.frozen_parameters())}")
    return Stage(
        name=name, run=config, config=stage_config, method=method, model=model, data=data, task=task,
        directory=directory, initial_state=initial_state, random_state=random_state, stop=stop,
    )


def _begin_with(state, saved, *, what):
    """`state` with the networks of a checkpoint; networks that the other stage did not have (a discriminator) stay as they are."""

    def begin(trees, found):
        return {name: adopt(tree, found[name], what=what) if name in found else tree for name, tree in trees.items()}

    return state.replace(params=begin(state.params, saved["params"]), batch_stats=begin(state.batch_stats, saved["batch_stats"]))


def _train(stage):
    """The result of a stage, trained now or found finished."""
    path = stage.directory / "result.json"
    if path.exists() and not _must_be_mended(stage, json.loads(path.read_text())["step"]):
        log.say(f"{stage.name}: already finished")
        return json.loads(path.read_text())
    state, evaluation = fit(stage)
    result = {"step": int(state.step), **(evaluation or {})}
    log.write_json(path, result)
    return result


def _must_be_mended(stage, last_step):
    """Whether a finished stage's last checkpoint is damaged and a stage is still to begin with it; an older one would be another start."""
    workdir = stage.directory.parent
    heirs = [name for name in stage.run.stages if stage.run[name].init_from == stage.name]
    if all((workdir / name / "result.json").exists() or checkpoint.steps(workdir / name / "checkpoints") for name in heirs):
        return False
    directory = stage.directory / "checkpoints"
    return bool(checkpoint.steps(directory)) and checkpoint.newest_whole_step(directory) != last_step


def _evaluate(stage):
    """The result of a stage's newest checkpoint, evaluated now."""
    directory = stage.directory / "checkpoints"
    if not directory.is_dir():
        raise UserError(f"{stage.name}: has no checkpoint under {directory}; run --mode=train first")
    saved, _ = checkpoint.read(directory)
    state = _begin_with(stage.random_state(), saved, what=f"the checkpoint of {stage.name}").replace(step=jnp.asarray(saved["step"]))
    if not hasattr(stage.method, "train_step"):
        return {"step": int(state.step)}
    evaluation = stage.task.evaluate(state, data=stage.data, model=stage.model, config=stage.config, run=stage.run)
    return {"step": int(state.step), **(evaluation.report or {})}


def _print_header(config, workdir, devices, data_lines):
    log.say("versions: " + ", ".join(f"{name} {version}" for name, version in report.versions().items()))
    log.say(f"devices: {report.describe_devices(devices)}")
    log.say(f"workdir: {workdir}")
    log.say("config:")
    for key, value in sorted(flatten(json.loads(config.to_json())).items()):
        log.say(f"  {key} = {value}")
    for line in data_lines:
        log.say(line)
    log.say(f"metric: {config.metric} on every evaluation image of the target, at the last step of each stage")


def _print_table(results, task, domains):
    evaluated = {name: result for name, result in results.items() if len(result) > 1}  # more than its step
    log.say()
    if not evaluated:
        log.say(f"all {len(results)} stages are finished; {domains.evaluation.name} has no labels, so there is nothing to measure on")
        return
    log.say(task.table(evaluated, domains))
