"""A task of eight numbers a batch and a method of one vector, for what the engine promises of
stages: a run takes a tenth of a second, with no TensorFlow in it.
"""

import json
import sys
import types

import in_process
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dajax import processes, tasks
from dajax.engine import stage_checks
from dajax.parallel import total
from dajax.recipes.base import common as base
from dajax.state import TrainState
from dajax.tasks.common import Evaluation

ROWS = 8
METHOD = sys.modules[__name__]  # the functions at the end of this file are the method's


def stage(init_from="", **settings):
    """Settings of one stage."""
    common = dict(method="toy", init_from=init_from, steps=3, batch_size=ROWS, evaluate_every=0)
    return ConfigDict({**common, "rate": 0.1, **base.NO_TEACHER, **settings})


def config(**changes):
    """Two stages of which the second begins with the first, and a third that is not run."""
    made = base.base("toy")
    made.task, made.stages = "toy", ("first", "second")
    made.model = ConfigDict(dict(width=4, weights=""))
    made.data = ConfigDict(dict(classes=("a", "b")))
    made.first, made.second, made.third = stage(), stage("first"), stage("first")
    made.update_from_flattened_dict(changes)
    return made


def install(monkeypatch):
    """Makes the task and its method known to the engine."""
    monkeypatch.setitem(tasks.TASKS, "toy", types.SimpleNamespace(**_TASK))
    known = stage_checks.get_method
    monkeypatch.setattr(
        stage_checks,
        "get_method",
        lambda name, *rest: METHOD if name == "toy" else known(name, *rest),
    )


def run(config, workdir, mode="train"):
    """Trains on one device, a checkpoint after every step, or evaluates."""
    in_process.run(config, workdir, mode)


def results(workdir, name="results.json"):
    """{stage: result} of a finished workdir."""
    return json.loads((workdir / name).read_text())["stages"]


class _Set:
    name, labels = "toy", None

    def __len__(self):
        return ROWS

    def fingerprint(self, version=1):
        return version


class _Feed:
    def __init__(self, domains, config, name, *, directory, devices, stop):
        self.devices, self._seed, self.stage = devices, config.seed, name
        self.sets = {"source": types.SimpleNamespace(class_names=domains.class_names)}

    def steps(self, plan, start, stop):
        size = ROWS // processes.count()
        own = slice(processes.index() * size, (processes.index() + 1) * size)
        for step in range(start, stop):
            draws = np.random.default_rng((self._seed, step)).normal(size=ROWS)[own]
            yield {"rows": {"x": draws.astype(np.float32), "mask": np.ones(size, bool)}}


def _open_data(config):
    same = _Set()
    return types.SimpleNamespace(
        source=same,
        target=same,
        evaluation=same,
        sources=(same,),
        class_names=tuple(config.data.classes),
        image_shape=(1,),
    )


def _evaluate(state, *, data, model, config, stage_config):
    figure = float(state.params["net"]["w"].sum() + state.batch_stats["net"]["mean"])
    report = {"accuracy": figure, "mean_class_accuracy": figure}
    return Evaluation(report, f"accuracy {figure}")


_TASK = dict(
    open_data=_open_data,
    describe=lambda config, domains: [],
    problems=lambda config, domains, **_: [],
    make_feed=_Feed,
    build_model=lambda config, stage_config, domains: types.SimpleNamespace(
        width=config.model.width, frozen_parameters=lambda: ()
    ),
    load_pretrained=lambda config, state: state,
    evaluate=_evaluate,
    check_result=lambda result, class_names: None,
    table=lambda results, domains, chosen: f"table of {', '.join(results)}, {chosen}",
)


def init(rng, images, *, config, model, sizes):
    """See dajax.methods."""
    return TrainState.create(
        params={"net": {"w": jax.random.normal(rng, (model.width,))}},
        batch_stats={"net": {"mean": jnp.zeros(())}},
        opt_state={},
        extra={"own": jnp.zeros(())},
    )


def plan(state, *, data, config):
    """See dajax.methods."""


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """Moves the vector by the mean of the batch and some noise, the statistic to that mean."""
    rows = batch["rows"]
    mean = total(rows["x"].sum(), axis_name) / ROWS
    noise = jax.random.normal(rng, (model.width,))
    moved = state.replace(
        step=state.step + 1,
        params={"net": {"w": state.params["net"]["w"] - config.rate * (mean + noise)}},
        batch_stats={"net": {"mean": mean}},
        extra={"own": mean},
    )
    return moved, {"loss": mean}
