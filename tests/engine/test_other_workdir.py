"""A stage that begins with a finished stage of another workdir, and what is said where it cannot
begin.
"""

import json
import shutil

import pytest
import tiny
import toy_task

from dajax import tasks
from dajax.cli import recipe, sweep, sweep_pool
from dajax.engine import init_from
from dajax.errors import UserError


@pytest.fixture(autouse=True)
def task(monkeypatch):
    toy_task.install(monkeypatch)


@pytest.fixture(scope="module")
def warm_up(tmp_path_factory):
    """A finished workdir of the first stage alone; tests that change it take a copy."""
    workdir = tmp_path_factory.mktemp("other") / "warm_up"
    with pytest.MonkeyPatch.context() as patch:
        toy_task.install(patch)
        toy_task.run(toy_task.config(stages=("first",)), workdir)
    return workdir


def heir(source, **changes):
    """The second stage alone, which begins with a stage's folder and stands still."""
    settings = {"stages": ("second",), "second.init_from": str(source), "second.rate": 0.0}
    return toy_task.config(**settings | changes)


def vector(workdir, stage):
    return tiny.final_state(workdir, stage)["params/net/w"].tolist()


def assert_begun_with(workdir, source):
    """A stage that stands still ends with the parameters that it began with."""
    assert vector(workdir, "second") == vector(source, "first")


def test_a_stage_begins_with_the_networks_of_another_workdir(warm_up, tmp_path, monkeypatch):
    """Named from the working directory, and not trained again."""
    monkeypatch.chdir(warm_up.parent)
    toy_task.run(heir("warm_up/first"), tmp_path / "run")
    assert_begun_with(tmp_path / "run", warm_up)
    record = json.loads((tmp_path / "run" / init_from.RECORD).read_text())["second"]
    assert record["folder"] == str(warm_up / "first") and record["step"] == 3
    assert not (tmp_path / "run" / "first").exists()


def test_a_stage_that_has_begun_needs_the_other_workdir_no_more(warm_up, tmp_path):
    source = shutil.copytree(warm_up, tmp_path / "source")
    config = heir(source / "first")
    toy_task.run(config, tmp_path / "run")
    shutil.rmtree(source)
    shutil.rmtree(tmp_path / "run" / "second" / "checkpoints" / "3")
    for name in ("results.json", "second/result.json"):
        (tmp_path / "run" / name).unlink()
    toy_task.run(config, tmp_path / "run")
    assert_begun_with(tmp_path / "run", warm_up)


def stopped_before_its_last_stage(source, workdir):
    """first has run, and "second" was promised the networks of `source`."""
    config = heir(source, stages=("first", "second"))
    toy_task.run(config, workdir)
    shutil.rmtree(workdir / "second")
    (workdir / "results.json").unlink()
    return config


def test_a_source_that_has_changed_is_refused_by_name(warm_up, tmp_path):
    source = shutil.copytree(warm_up, tmp_path / "source")
    config = stopped_before_its_last_stage(source / "first", tmp_path / "run")
    shutil.rmtree(source)
    toy_task.run(toy_task.config(stages=("first",), seed=1), source)
    with pytest.raises(
        UserError,
        match=r"run was begun to start stage second from .*/source/first \(step 3, sha256 "
        r"\w{8}\); config.second.init_from=.* holds another network \(step 3",
    ):
        toy_task.run(config, tmp_path / "run")
    # and one that changes while the stages before it run
    with pytest.raises(UserError, match="holds another network"):
        init_from.begin(None, config, "second", tmp_path / "run")


def test_a_source_that_has_moved_is_the_same(warm_up, tmp_path, capsys):
    source = shutil.copytree(warm_up, tmp_path / "source")
    config = stopped_before_its_last_stage(source / "first", tmp_path / "run")
    moved = source.rename(tmp_path / "moved") / "first"
    with pytest.raises(UserError, match="source/first: there is no such folder"):
        toy_task.run(config, tmp_path / "run")
    config.second.init_from = str(moved)
    toy_task.run(config, tmp_path / "run")
    assert f"moved: config.second.init_from was {source}" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "config.json").read_text())["second"]["init_from"] == str(
        moved
    )
    assert_begun_with(tmp_path / "run", warm_up)


def spoil(workdir, name, change):
    path = workdir / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


MISTAKES = {
    "nothing there": (lambda there: there / "absent", "there is no such folder; name the folder"),
    "a workdir": (lambda there: there, "is a workdir, not one of its stages"),
    "some folder": (lambda there: there.parent, "does not lie in a workdir of dajax"),
    "a folder of a workdir": (
        lambda there: shutil.copytree(there / "first", there / "best"),
        "has no such stage; its stages: first",
    ),
    "unfinished": (
        lambda there: (there / "first" / "result.json").unlink(),
        "first: is not finished; run that workdir to its end",
    ),
    "another task": (
        lambda there: spoil(there, "config.json", lambda tree: tree.update(task="segmentation")),
        "is a stage of segmentation, this run is one of toy",
    ),
    "no last checkpoint": (
        lambda there: shutil.rmtree(there / "first" / "checkpoints" / "3"),
        "init_from=.*its last checkpoint, of step 3, is not there; put it back",
    ),
    "a damaged checkpoint": (
        lambda there: next((there / "first/checkpoints/3").rglob("SHA256SUMS")).write_text("x"),
        "init_from=.*damaged are step 3 .SHA256SUMS is not what was written",
    ),
    "a damaged result": (
        lambda there: (there / "first" / "result.json").write_text("{"),
        "init_from=.*result.json: is damaged .*belongs to the other workdir",
    ),
    "other classes": (
        lambda there: spoil(there, "dataset.json", lambda tree: tree["class_names"].reverse()),
        "trained on other classes: 2 there, 2 here, and class 0 is b there, a here",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_begun_with_is_one_line_before_anything_is_trained(
    warm_up, tmp_path, monkeypatch, name
):
    make, says = MISTAKES[name]
    there = shutil.copytree(warm_up, tmp_path / "there")
    source = make(there)
    source = source if hasattr(source, "is_dir") else there / "first"
    if name != "other classes":  # the data say what the classes are
        toy = tasks.TASKS["toy"]
        monkeypatch.setattr(toy, "open_data", lambda config: pytest.fail("opened"))
    with pytest.raises(UserError, match=says) as error:
        toy_task.run(heir(source), tmp_path / "run")
    assert "config.second.init_from=" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run" / "second").exists()


def test_another_network_is_one_line_with_the_settings_that_differ(warm_up, tmp_path):
    with pytest.raises(
        UserError,
        match=r"init_from=.*: w has shape \(4,\), this model needs \(5,\); "
        r"config.model.width=4 there, 5 here",
    ):
        toy_task.run(heir(warm_up / "first", **{"model.width": 5}), tmp_path / "run")
    assert not (tmp_path / "run" / "second").exists()


def test_a_stage_of_the_same_run_is_named_alone(tmp_path):
    (tmp_path / "first").mkdir()
    with pytest.raises(UserError, match="is of this very run; name its stage alone.*=first"):
        toy_task.run(heir(tmp_path / "first"), tmp_path)


RECIPE = """
import toy_task

def get_config():
    return toy_task.config()
"""


def sweep_of_the_second_stage(source, folder):
    """Over two seeds, as `run.py --config=RECIPE --config.stages=... --seeds=0,1` does it."""
    (folder / "recipe.py").write_text(RECIPE)
    overrides = ("--config.stages=('second',)", f"--config.second.init_from={source}")
    sweep.run(str(folder / "recipe.py"), "0,1", None, overrides, folder / "sweep", 0)


def test_a_sweep_over_a_later_stage_does_not_train_the_warm_up_again(
    warm_up, tmp_path, monkeypatch
):
    """In this process, in place of run.py in one of its own."""

    class Trained:
        output = gpu = None

        def __init__(self, run, title, flags, lock, *, is_alone, gpu):
            toy_task.run(recipe.read(run.recipe, run.overrides), run.workdir)

        def status(self):
            return 0

    monkeypatch.setattr(sweep_pool, "Child", Trained)
    monkeypatch.chdir(warm_up.parent)
    sweep_of_the_second_stage("warm_up/first", tmp_path)
    for seed in (0, 1):
        workdir = tmp_path / "sweep" / f"seed{seed}"
        assert not (workdir / "first").exists()
        record = json.loads((workdir / init_from.RECORD).read_text())["second"]
        assert record["folder"] == str(warm_up / "first")
    assert "second" in (tmp_path / "sweep" / "table.md").read_text()


def test_a_sweep_whose_source_is_missing_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_pool, "Child", lambda *_, **__: pytest.fail("ran"))
    with pytest.raises(UserError, match="config.second.init_from=/nowhere/a: there is no such"):
        sweep_of_the_second_stage("/nowhere/a", tmp_path)
