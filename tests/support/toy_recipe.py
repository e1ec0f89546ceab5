"""A recipe of toy_task for the real command line, in a process of its own: a stage that trains, one
that looks at its own state between loops, and one that begins with it.
"""

import types

import jax.numpy as jnp
import pytest
import toy_task

from dajax import tasks
from dajax.analysis import sweep_tables
from dajax.engine import json_files, stage_checks
from dajax.schedule import Schedule

REFRESH_EVERY = 4


def get_config(arg=None):
    """Stages first, loop and second, 24 steps in all."""
    made = toy_task.config()
    made.loop = toy_task.stage("first", steps=10, evaluate_every=3)
    made.loop.method = "toy_loop"
    made.second.init_from, made.second.steps = "loop", 9
    made.first.steps, made.stages = 5, ("first", "loop", "second")
    made.runtime.update(
        dict(devices=0, checkpoint_every=2, log_every=2, report_seconds=1000.0),
    )
    made.runtime.compilation_cache = ""
    return made


def install():
    """Makes task and methods known to this process, for as long as it lives."""
    toy_task.install(pytest.MonkeyPatch())
    known = stage_checks.get_method
    stage_checks.get_method = lambda name, *rest: LOOP if name == "toy_loop" else known(name, *rest)
    sweep_tables.METRICS["toy"] = sweep_tables.METRICS["classification"]
    tasks.TASKS["toy"].make_feed = _Feed
    tasks.TASKS["toy"].judge_refresh = lambda state, *, data: {}
    tasks.TASKS["toy"].warn_of_refresh = lambda summary, earlier, *, data: []


class _Feed(toy_task._Feed):
    earlier_rounds = ()

    def __init__(self, *args, directory, stop, **kwargs):
        super().__init__(*args, directory=directory, stop=stop, **kwargs)
        self.directory, self.check_stop = directory, stop.check


def _schedule(state, *, config):
    step, due = int(state.step), int(state.extra["refreshed"])
    at = due * REFRESH_EVERY
    return Schedule(
        refresh_at=at if at < config.steps else None,
        last_step=config.steps,
        finished=step >= config.steps,
    )


def _init(rng, images, *, config, model, sizes):
    state = toy_task.init(rng, images, config=config, model=model, sizes=sizes)
    return state.replace(extra={**state.extra, "refreshed": jnp.zeros((), jnp.int32)})


def _train_step(state, batch, rng, **kwargs):
    moved, metrics = toy_task.train_step(state, batch, rng, **kwargs)
    return moved.replace(extra={**state.extra, **moved.extra}), metrics


def _refresh(state, *, data, config, model):
    data.check_stop()
    figure = float(state.params["net"]["w"].sum())
    json_files.write(data.directory / "made.json", {"step": int(state.step), "figure": figure})
    count = state.extra["refreshed"] + 1
    data.check_stop()
    return state.replace(extra={**state.extra, "refreshed": count}), {"figure": figure}, []


LOOP = types.SimpleNamespace(
    __name__="toy_loop",
    TASK="toy",
    init=_init,
    plan=toy_task.plan,
    train_step=_train_step,
    schedule=_schedule,
    refresh=_refresh,
)
