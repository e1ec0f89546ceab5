"""What a config says of its stages, checked before data are opened and hours are spent."""

import json

from dajax import parallel, processes, tasks
from dajax.analysis import sweep_tables
from dajax.engine import config_ranges, locations, other_workdir, rounds, teacher
from dajax.engine.config_check import flatten
from dajax.errors import UserError
from dajax.methods import get as get_method
from dajax.settings import starts_of


def check_before_data(config):
    """Everything about a config that can be said without its data: addresses, ranges, stages,
    methods.

    Raises:
      UserError: the first mistake.
    """
    config_ranges.check_writable(flatten(config.to_dict()))
    flat = flatten(json.loads(config.to_json()))
    locations.check_config(flat)
    config_ranges.check(flat)
    tasks.get(config.task)
    sweep_tables.check_metric(config)
    if not config.stages:
        raise UserError(f"config.stages is empty; known: {', '.join(_stage_names(config))}")
    seen = []
    for name in config.stages:
        if name not in _stage_names(config):  # which need be no word: --config.stages=(1,)
            raise UserError(
                f"config.stages names '{name}', which is no stage of this config; known:"
                f" {', '.join(_stage_names(config))}"
            )
        if name in seen:
            raise UserError(
                f"config.stages names '{name}' twice; a stage has one folder and runs once: name"
                " each once"
            )
        method = method_of(config, name)
        teacher.check(name, config[name], method)
        rounds.check(name, config, tasks.get(config.task))
        _check_starts(config, name, seen)
        _check_labels_from(config, name, seen)
        seen.append(name)


def _check_starts(config, name, before):
    """A stage begins with a stage before it, or with one of another workdir; one that trains
    nothing also with the mean of several of this run.
    """
    key, starts = f"config.{name}.init_from", starts_of(config[name].init_from)
    if not starts and config[name].init_from != "":
        raise UserError(f"{key}=(): expected names of stages before it, or '' for random weights")
    if len(starts) > 1 and takes_steps(config, name):
        raise UserError(
            f"{key}={starts}: several networks are averaged, and a mean is not trained; name one"
            " stage, or average in a stage of pseudo_labels"
        )
    for start in starts:
        is_there = start in before or (len(starts) == 1 and other_workdir.is_path(start))
        if not is_there:
            elsewhere = "; of another workdir, its folder: runs/NAME/STAGE"
            raise UserError(
                f"{key}='{start}' is not a stage before it; stages:"
                f" {', '.join(config.stages)}{elsewhere if len(starts) == 1 else ''}"
            )


def _check_labels_from(config, name, before):
    """Pseudo-labels are read from a stage that has made them, which is known hours before the loop
    asks for them.
    """
    if "labels_from" in config[name]:
        maker = config[name].labels_from
        makers = [other for other in before if not takes_steps(config, other)]
        if maker not in makers:
            raise UserError(
                f"config.{name}.labels_from='{maker}' is no stage before it that makes"
                f" pseudo-labels; such stages: {', '.join(makers) or 'none'}"
            )


def check_alike(config):
    """Checks that all processes of a run were started with one config, but for their numbers.

    Raises:
      UserError: in a process whose config is not the first one's, naming the keys.
    """
    own = flatten(json.loads(config.to_json()))
    first = processes.from_first_object(lambda: own)
    differing = [
        f"{key}={first.get(key, 'absent')} there, {own.get(key, 'absent')} here"
        for key in sorted(own.keys() | first.keys())
        if key != "runtime.process_id" and own.get(key, "absent") != first.get(key, "absent")
    ]
    if differing:
        raise UserError(
            f"the first process was started with another config: {', '.join(differing[:6])}; start"
            " all with the same command, but for config.runtime.process_id"
        )


def method_of(config, name):
    """The module of a stage's method. Raises: UserError naming the key."""
    return get_method(config[name].method, config.task, f"config.{name}.method")


def takes_steps(config, name):
    """Whether a stage takes steps. One that takes none makes something in a single refresh:
    pseudo-labels.
    """
    return hasattr(method_of(config, name), "train_step")


def check_batches(config, num_devices):
    """Checks that each stage's batch divides over the devices.

    Raises:
      UserError: naming the key of the first that does not.
    """
    for name in config.stages:
        # without steps there are passes over the images, whose last batch is filled up in any case
        if takes_steps(config, name):
            parallel.check_divides(
                config[name].batch_size, num_devices, f"config.{name}.batch_size"
            )


def _stage_names(config):
    return [name for name, value in config.items() if hasattr(value, "keys") and "method" in value]
