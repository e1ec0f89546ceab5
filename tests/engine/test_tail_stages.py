"""A finished workdir takes further stages at its end; what was trained stays what it is."""

import json
import shutil

import in_process
import pytest
import recipes
import toy_task
from toy_task import config

from dajax.engine import config_check
from dajax.errors import UserError

BOTH = ("first", "second")


@pytest.fixture(autouse=True)
def task(monkeypatch):
    toy_task.install(monkeypatch)


@pytest.fixture(scope="module")
def one_stage(tmp_path_factory):
    """A finished workdir of the first stage alone; tests change copies of it."""
    workdir = tmp_path_factory.mktemp("tail") / "run"
    with pytest.MonkeyPatch.context() as patch:
        toy_task.install(patch)
        toy_task.run(config(stages=BOTH[:1]), workdir)
    return workdir


@pytest.fixture
def workdir(one_stage, tmp_path):
    return shutil.copytree(one_stage, tmp_path / "run")


def files(folder):
    """{path: (bytes, time of the last change)}."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_further_stage_runs_and_the_finished_one_stays(workdir, tmp_path, capsys):
    """Its own settings may be others than those which the config had for it before."""
    before = files(workdir / "first")
    toy_task.run(config(stages=BOTH, **{"second.steps": 2}), workdir)
    said = capsys.readouterr().out
    assert "first: already finished" in said
    assert files(workdir / "first") == before
    results = json.loads((workdir / "results.json").read_text())["stages"]
    assert {name: result["step"] for name, result in results.items()} == {
        "first": 3,
        "second": 2,
    }
    table = said[said.index("table of ") :]
    assert all(name in table for name in BOTH)
    stored = json.loads((workdir / "config.json").read_text())
    assert stored["stages"] == list(BOTH) and stored["second"]["steps"] == 2
    toy_task.run(config(stages=BOTH, **{"second.steps": 2}), workdir)
    assert capsys.readouterr().out.count("already finished") == 2
    # the same bits as in one go
    toy_task.run(config(stages=BOTH, **{"second.steps": 2}), tmp_path / "straight")
    in_process.assert_same_states(
        *(
            {name: in_process.states(path / name) for name in BOTH}
            for path in (tmp_path / "straight", workdir)
        )
    )
    with pytest.raises(UserError, match="another config: second.steps=2 there, 3 now"):
        toy_task.run(config(stages=BOTH), workdir)


@pytest.mark.parametrize("first", ["coral", "mcc"])
def test_a_comparison_without_later_rows_takes_them_at_its_end(first, tmp_path):
    """compare_cls had none of them once; a stage in the middle would be another config."""
    now, before = (recipes.get_config("compare_cls") for _ in range(2))
    place = now.stages.index(first)
    for name in now.stages[place:]:
        del before[name]
    before.stages = now.stages[:place]
    config_check.check_config(before, tmp_path)
    for name in before.stages:
        (tmp_path / name / "checkpoints" / "5").mkdir(parents=True)
    assert config_check.check_config(now, tmp_path) == {}
    config_check.remember(now, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["stages"] == list(now.stages)


def begun(tmp_path, *names):
    """A workdir of two stages, of which these have saved something."""
    config_check.check_config(config(stages=BOTH), tmp_path)
    for name in names:
        (tmp_path / name / "checkpoints" / "5").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    "stages, changes",
    [
        (("third", *BOTH), {}),
        (("first", "third", "second"), {}),
        (("second", "first"), {}),
        (("first", "third"), {}),
        ((*BOTH, "third"), {"first.steps": 4}),
        ((*BOTH, "third"), {"seed": 1}),
    ],
)
def test_any_other_change_is_another_config(tmp_path, stages, changes):
    workdir = begun(tmp_path, *BOTH)
    with pytest.raises(UserError, match="was begun with another config: (stages|seed|first)"):
        config_check.check_config(config(stages=stages, **changes), workdir)
    assert json.loads((workdir / "config.json").read_text())["stages"] == list(BOTH)


def test_a_stage_at_the_end_that_has_not_begun_may_be_left_out(tmp_path):
    workdir = begun(tmp_path, "first")
    shorter = config(stages=BOTH[:1])
    assert config_check.check_config(shorter, workdir) == {}
    config_check.remember(shorter, workdir)
    assert json.loads((workdir / "config.json").read_text())["stages"] == ["first"]
    # and added again, with other settings
    longer = config(stages=BOTH, **{"second.steps": 7})
    assert config_check.check_config(longer, workdir) == {}
    config_check.remember(longer, workdir)
    assert json.loads((workdir / "config.json").read_text())["second"]["steps"] == 7


def test_a_stage_at_the_end_that_has_begun_may_not_be_left_out(tmp_path):
    workdir, shorter = begun(tmp_path, *BOTH), config(stages=BOTH[:1])
    with pytest.raises(
        UserError, match="has stage 'second', which has begun .* move .*/second away"
    ):
        config_check.check_config(shorter, workdir)
    (workdir / "second").rename(workdir.parent / "elsewhere")
    config_check.check_config(shorter, workdir)
    config_check.remember(shorter, workdir)
    # what comes back is what it was, or it is refused
    (workdir.parent / "elsewhere").rename(workdir / "second")
    assert config_check.check_config(config(stages=BOTH), workdir) == {}
    with pytest.raises(UserError, match="another config: second.steps=3 there, 7 now"):
        config_check.check_config(config(stages=BOTH, **{"second.steps": 7}), workdir)
