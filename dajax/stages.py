"""A run: its stages in order. Done? skip. Begun? resume. Else start, from `init_from` where the stage names one."""

import json
import os
import pathlib

import jax
import jax.numpy as jnp

from data_pipeline import sources
from data_pipeline.preprocess import from_config as make_transform
from dajax import checkpoint, log, parallel, report
from dajax.config_check import check_config, check_data, flatten
from dajax.errors import UserError
from dajax.evaluate import evaluate_classifier
from dajax.feed import Feed
from dajax.methods import get as get_method
from dajax.models.build import build_model, load_pretrained
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

    source, target = sources.load_domains(config.data)
    transform = make_transform(config.data.transform)
    image_shape = _image_shape(source, transform)
    check_data(source, target, image_shape, workdir)
    _print_header(config, workdir, devices, source, target)

    stop = StopFlag()
    stages = [_make_stage(config, name, workdir, devices, source, target, transform, image_shape, stop) for name in config.stages]
    with stop.listening():
        results = {stage.name: (_train(stage) if mode == "train" else _evaluate(stage)) for stage in stages}
    content = {"stages": results, "config": json.loads(config.to_json()), "versions": report.versions()}
    log.write_json(workdir / ("results.json" if mode == "train" else "eval.json"), content)
    _print_table(results, target)


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


def _image_shape(source, transform):
    """(H, W, C) of what the model sees; files are read as RGB."""
    channels = 3 if source.images is None else source.images.shape[-1]
    return (*transform.size_hw, channels)


def _make_stage(config, name, workdir, devices, source, target, transform, image_shape, stop):
    stage_config, directory = config[name], workdir / name
    method = get_method(stage_config.method)
    model = build_model(config.model, stage_config, num_classes=len(source.class_names))
    data = Feed(source, target, transform=transform, seed=config.seed, stage=name, devices=devices, check_stop=stop.check)

    def random_state():
        images = jnp.zeros((2, *image_shape), jnp.float32)
        rng = jax.random.key(config.seed)  # the same for every stage: the same seed is the same random network
        return method.init(rng, images, config=stage_config, model=model, num_images={"source": len(source), "target": len(target)})

    def initial_state():
        state = random_state()
        if stage_config.init_from:
            saved, _ = checkpoint.read(workdir / stage_config.init_from / "checkpoints")
            what = f"config.{name}.init_from={stage_config.init_from}"
            return state.replace(
                params=adopt(state.params, saved["params"], what=what), batch_stats=adopt(state.batch_stats, saved["batch_stats"], what=what)
            )
        return load_pretrained(config.model, state)

    log.say(f"{name}: {report.describe_parameters(jax.eval_shape(random_state).params, model.frozen_parameters())}")
    return Stage(
        name=name, config=stage_config, runtime=config.runtime, seed=config.seed, method=method, model=model, data=data,
        directory=directory, initial_state=initial_state, stop=stop,
    )


def _train(stage):
    """The result of a stage, trained now or found finished."""
    path = stage.directory / "result.json"
    if path.exists():
        log.say(f"{stage.name}: already finished")
        return json.loads(path.read_text())
    state, evaluation = fit(stage)
    result = {"step": int(state.step), **(evaluation or {})}
    log.write_json(path, result)
    return result


def _evaluate(stage):
    """The result of a stage's newest checkpoint, evaluated now."""
    directory = stage.directory / "checkpoints"
    if not directory.is_dir():
        raise UserError(f"{stage.name}: has no checkpoint under {directory}; run --mode=train first")
    saved, _ = checkpoint.read(directory)
    state = stage.initial_state()
    what = f"the checkpoint of {stage.name}"
    state = state.replace(
        step=jnp.asarray(saved["step"]), params=adopt(state.params, saved["params"], what=what),
        batch_stats=adopt(state.batch_stats, saved["batch_stats"], what=what),
    )
    evaluation = evaluate_classifier(state, data=stage.data, model=stage.model, config=stage.config, batch_size=stage.runtime.eval_batch_size)
    return {"step": int(state.step), **(evaluation or {})}


def _print_header(config, workdir, devices, source, target):
    log.say("versions: " + ", ".join(f"{name} {version}" for name, version in report.versions().items()))
    log.say(f"devices: {report.describe_devices(devices)}")
    log.say(f"workdir: {workdir}")
    log.say("config:")
    for key, value in sorted(flatten(json.loads(config.to_json())).items()):
        log.say(f"  {key} = {value}")
    for domain, images in (("source", source), ("target", target)):
        found = f"{len(images)} images, no labels"
        if images.labels is not None:
            counts = ", ".join(f"{name} {count}" for name, count in zip(images.class_names, images.class_counts()))
            found = f"{len(images)} images ({counts}){' - labels for evaluation only' if domain == 'target' else ''}"
        log.say(f"{domain}: {images.name}, {found}")
    log.say(f"metric: {config.metric} on all target images, at the last step of each stage")


def _print_table(results, target):
    labelled = {name: result for name, result in results.items() if "accuracy" in result}
    log.say()
    if not labelled:
        log.say(f"all {len(results)} stages are finished; {target.name} has no labels, so there is no accuracy to report")
        return
    log.say("target accuracy in %, last step")
    log.say(report.classification_table(labelled))
