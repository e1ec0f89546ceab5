"""The teacher of a stage: what it is after every step, who predicts with it, and that it is saved
like all else.
"""

import json
import shutil
import types

import in_process
import jax
import numpy as np
import pytest
import toy_task
from ml_collections import ConfigDict

import dajax
from dajax import open_workdir
from dajax.engine import teacher, train
from dajax.errors import UserError
from dajax.state import TEACHER
from dajax.trained import Trained

MOMENTUM = 0.6  # 1 - 1 / (t + 1) is below it once, in the first step
KEPT = {"teacher.momentum": MOMENTUM, "predict_with": "teacher"}


def with_teacher(predict_with="teacher"):
    """The first stage keeps a teacher; the second begins with it and stands still."""
    kept = {f"first.{key}": value for key, value in KEPT.items()}
    return toy_task.config(**kept | {"first.predict_with": predict_with, "second.rate": 0.0})


@pytest.fixture(autouse=True)
def task(monkeypatch):
    toy_task.install(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The workdir of with_teacher(), which nothing disturbed; tests change copies of it."""
    workdir = tmp_path_factory.mktemp("teacher") / "run"
    with pytest.MonkeyPatch.context() as patch:
        toy_task.install(patch)
        toy_task.run(with_teacher(), workdir)
    return workdir


NETWORKS = ("['params']", "['batch_stats']")


def of_teacher(state):
    """{path in the student: array}."""
    prefix = f"['extra']['{TEACHER}']"
    return {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}


def of_student(state):
    return {name: leaf for name, leaf in state.items() if name.startswith(NETWORKS)}


def test_the_teacher_is_the_average_of_the_students(finished):
    """Parameters and statistics, from the second step on: the initial ones are in no checkpoint."""
    states = in_process.states(finished / "first")
    for step in (2, 3):
        before, found = of_teacher(states[step - 1]), of_teacher(states[step])
        student = of_student(states[step])
        assert found.keys() == student.keys() == before.keys() and len(found) == 2
        for name in found:
            expected = MOMENTUM * before[name] + (1 - MOMENTUM) * student[name]
            np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-7, err_msg=name)
            assert (found[name] != student[name]).all()


def test_what_a_stage_predicts_with_is_what_it_hands_on(finished, tmp_path):
    """A stage that stands still ends with the parameters that it began with."""
    states = in_process.states(finished / "first")[3]
    toy_task.run(with_teacher("student"), tmp_path)
    path = "['params']['net']['w']"
    for workdir, handed_on in ((finished, of_teacher(states)), (tmp_path, of_student(states))):
        assert (in_process.states(workdir / "second")[1][path] == handed_on[path]).all()
        figure = toy_task.results(workdir)["first"]["accuracy"]
        np.testing.assert_allclose(figure, sum(x.sum() for x in handed_on.values()), rtol=1e-5)
    in_process.assert_same_states(
        {"first": in_process.states(finished / "first")},
        {"first": in_process.states(tmp_path / "first")},
    )


def test_evaluating_anew_takes_the_teacher(finished, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    toy_task.run(with_teacher(), workdir, "eval")
    assert toy_task.results(workdir, "eval.json") == toy_task.results(workdir)


@pytest.fixture
def opened(monkeypatch):
    """f(workdir, stage), dajax.load but for the network, of which the toy task has none."""
    monkeypatch.setattr(open_workdir, "_built", lambda *_: (Trained, None, None))
    return dajax.load


def test_opening_takes_the_teacher(finished, opened):
    state = of_teacher(in_process.states(finished / "first")[3])
    one = opened(finished, "first")
    np.testing.assert_array_equal(one.params["net"]["w"], state["['params']['net']['w']"])
    assert one.batch_stats["net"]["mean"] == state["['batch_stats']['net']['mean']"]
    assert set(one.extra[TEACHER]) == {"params", "batch_stats"}


@pytest.mark.parametrize(
    "stage, value, says",
    [
        (
            "second",
            "teacher",
            "config.second.predict_with='teacher', and the checkpoint holds none",
        ),
        ("first", ["teacher"], "of predict_with is not what a run writes"),
    ],
)
def test_opening_says_where_config_and_checkpoint_disagree(
    finished, tmp_path, opened, stage, value, says
):
    workdir = shutil.copytree(finished, tmp_path / "run")
    tree = json.loads((workdir / "config.json").read_text())
    tree[stage]["predict_with"] = value
    (workdir / "config.json").write_text(json.dumps(tree))
    with pytest.raises(UserError, match=says):
        opened(workdir, stage)


def test_a_stage_with_a_teacher_resumes_with_the_same_bits(finished, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "run")
    for path in (workdir / "second", workdir / "first" / "checkpoints" / "3"):
        shutil.rmtree(path)
    for name in ("results.json", "first/result.json"):
        (workdir / name).unlink()
    toy_task.run(with_teacher(), workdir)
    in_process.assert_same_states(
        *(
            {name: in_process.states(path / name) for name in ("first", "second")}
            for path in (finished, workdir)
        )
    )


def test_without_momentum_there_is_no_teacher(finished):
    state = in_process.states(finished / "second")[3]
    assert [name for name in state if name.startswith("['extra']")] == ["['extra']['own']"]


def three_steps(num_devices):
    """The state, on the host, and what the method found in the state of each step."""
    stage_config = toy_task.stage()
    stage_config.update_from_flattened_dict(KEPT)
    seen, train_step = [], toy_task.train_step

    def looking(state, batch, rng, **keywords):
        after, _ = train_step(state, batch, rng, **keywords)
        return after, {"seen": state.extra[TEACHER]["params"]["net"]["w"][0]}

    stage = types.SimpleNamespace(
        method=types.SimpleNamespace(train_step=looking),
        stage_config=stage_config,
        model=types.SimpleNamespace(width=2),
        data=types.SimpleNamespace(devices=jax.devices()[:num_devices]),
    )
    step, rng = train.compile_step(stage), jax.random.key(0)
    state = toy_task.init(rng, None, config=None, model=stage.model, sizes=None)
    state = teacher.begin(state, stage_config)
    for k in range(3):
        seen.append((float(state.extra[TEACHER]["params"]["net"]["w"][0]),))
        batch = {"rows": {"x": np.arange(8, dtype=np.float32) + k}}
        state, metrics = step(state, batch, rng)
        seen[-1] += (float(metrics["seen"]),)
    return jax.tree.map(np.asarray, state), seen


def test_several_devices_keep_the_teacher_of_one():
    one, four = (three_steps(devices)[0].extra[TEACHER] for devices in (1, 4))
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
        np.testing.assert_allclose(right, left, rtol=1e-5)


def test_a_method_finds_the_average_over_the_steps_before():
    state, seen = three_steps(1)
    assert all(held == found for held, found in seen) and len(set(seen)) == 3


def test_a_method_that_replaces_what_it_carries_keeps_its_teacher():
    state, _ = three_steps(1)
    assert set(state.extra) == {"own", TEACHER}
    stage_config = ConfigDict({"teacher": {"momentum": MOMENTUM}})
    refreshed = teacher.keep(state, state.replace(extra={"own": 5}), stage_config)
    assert refreshed.extra == {"own": 5, TEACHER: state.extra[TEACHER]}


def test_a_teacher_that_its_method_moves_is_left_alone():
    moved = types.SimpleNamespace(extra={TEACHER: "moved"})
    method = types.SimpleNamespace(MOVES_TEACHER=True)
    assert teacher.follow(None, moved, with_teacher().first, method) is moved
