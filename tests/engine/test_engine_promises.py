"""What the engine promises of stages and steps, on whole runs in this process with a network of two
dense layers.
"""

import types

import in_process
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from in_process import two_stages
from ml_collections import ConfigDict

from dajax.engine import train
from dajax.engine.signals import StopFlag
from dajax.errors import StopRequested
from dajax.recipes.base import common as base
from dajax.state import TrainState
from dajax.tasks.classification import setup as classification


@pytest.fixture(autouse=True)
def flat_network(monkeypatch):
    monkeypatch.setattr(classification, "build_network", in_process.flat)
    with in_process.compiled_programs_kept():
        yield


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The workdir of a run that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch, in_process.compiled_programs_kept():
        patch.setattr(classification, "build_network", in_process.flat)
        in_process.run(two_stages(), workdir)
    return workdir


def all_states(workdir):
    return {stage: in_process.states(workdir / stage) for stage in ("source_only", "again")}


@pytest.mark.parametrize("steps", [2, 4])
def test_stopped_after_any_step_it_ends_with_the_same_bits(straight, monkeypatch, tmp_path, steps):
    """Within the first stage and within the second; the flag is what a signal raises."""
    checked, check = [], StopFlag.check_between_steps

    def stop(self):
        checked.append(self)
        if trained == steps:
            self.signal = 15
        check(self)

    trained, step = 0, train.compile_step

    def counting(stage):
        compiled = step(stage)

        def run(*args):
            nonlocal trained
            trained += 1
            return compiled(*args)

        run.lower = compiled.lower
        return run

    monkeypatch.setattr(train, "compile_step", counting)
    monkeypatch.setattr(StopFlag, "check_between_steps", stop)
    with pytest.raises(StopRequested):
        in_process.run(two_stages(), tmp_path)
    assert trained == steps and checked
    monkeypatch.undo()
    monkeypatch.setattr(classification, "build_network", in_process.flat)
    in_process.run(two_stages(), tmp_path)
    in_process.assert_same_states(all_states(straight), all_states(tmp_path))
    for stage in ("source_only", "again"):
        assert in_process.metrics(straight, stage) == in_process.metrics(tmp_path, stage)


def test_a_stage_that_cannot_learn_ends_with_the_other_stages_parameters(straight, tmp_path):
    """At a rate of 0 a stage ends with what it began with."""
    in_process.run(two_stages(**{"again.optimizer.lr": 0.0}), tmp_path)
    begun = list(in_process.states(tmp_path / "source_only").values())[-1]
    ended = list(in_process.states(tmp_path / "again").values())[-1]
    anew = in_process.states(straight / "source_only")
    params = [name for name in ended if name.startswith("['params']")]
    assert len(params) > 5
    for name in params:
        np.testing.assert_array_equal(ended[name], begun[name], err_msg=name)
    assert any(np.abs(begun[name] - anew[min(anew)][name]).max() > 0 for name in params), (
        "the source-only stage has moved them"
    )
    stats = [name for name in ended if name.startswith("['batch_stats']")]
    assert stats and all((ended[name] != begun[name]).any() for name in stats), (
        "statistics move whatever the rate"
    )


def test_every_step_has_a_random_key_of_its_own():
    """The step's key is the run's, folded with the number of steps done: nothing random is stored,
    no two steps share one.
    """

    class Method:
        @staticmethod
        def train_step(state, batch, rng, *, config, model, axis_name):
            return state.replace(step=state.step + 1), {
                "draw": jax.random.uniform(rng),
                "batch": batch["x"].sum(),
            }

    stage = types.SimpleNamespace(
        method=Method,
        stage_config=ConfigDict(base.NO_TEACHER),
        model=None,
        data=types.SimpleNamespace(devices=jax.devices()[:1]),
    )
    step, rng = train.compile_step(stage), jax.random.key(7)
    state, draws = TrainState.create(params={}, batch_stats={}, opt_state={}), []
    for _ in range(4):
        state, found = step(state, {"x": jnp.ones(2)}, rng)
        draws.append(float(found["draw"]))
    assert len(set(draws)) == 4
    np.testing.assert_array_equal(
        draws, [float(jax.random.uniform(jax.random.fold_in(rng, i))) for i in range(4)]
    )
