"""A run before its first step: every check of its config, data and workdir, and its stages as they
will be trained.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dajax import console, parallel, processes, tasks
from dajax.analysis import report
from dajax.engine import (
    checkpoint,
    environment,
    folder_lock,
    init_from,
    run_output,
    snapshots,
    teacher,
    wandb_run,
)
from dajax.engine.config_check import check_config, forget_unless_begun, remember
from dajax.engine.fingerprints import check_data, check_weights
from dajax.engine.stage_checks import check_batches, method_of
from dajax.engine.train import Stage
from dajax.errors import UserError
from dajax.methods import Sizes, interface
from dajax.settings import part_of_config


class Run(NamedTuple):
    """One whose config, data and workdir have passed all checks.

    Attributes:
      stages: [Stage], in order.
      chosen: of mode "eval", {stage: the step whose snapshot is evaluated, None for the newest}.
      domains: of the task's open_data.
      devices: of jax.
    """

    stages: list
    chosen: dict
    domains: Any
    devices: list


def open_run(config, workdir, mode, select, print_config, stop, held):
    """A Run, after all checks that can be made before its first step; the workdir keeps what it was
    begun with.

    Args:
      config, workdir, mode, select, print_config: see stages.run.
      stop: StopFlag of the run.
      held: contextlib.ExitStack, for as long as which the workdir is this run's own.

    Raises:
      UserError, data_pipeline DataError: as stages.run.
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
    return Run(stages, chosen, domains, devices)


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
