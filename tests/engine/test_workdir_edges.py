"""What people and programs leave in a workdir beside what dajax has written, and runs that ended
before they had made anything.
"""

import json
import os
import shutil
import zipfile

import in_process
import pytest
import tiny
from checkpoint_states import make_state
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

import dajax
from dajax.cli import recipe, sweep_plan
from dajax.engine import (
    checkpoint,
    checksums,
    config_check,
    environment,
    locations,
    log,
    stage_checks,
    stages,
    tensorboard,
    train,
)
from dajax.engine.checkpoint import Checkpoints
from dajax.errors import UserError
from dajax.recipes import can
from dajax.tasks.classification import setup as classification


@pytest.fixture
def workdir(tmp_path):
    """With the records of a run of CAN that has saved nothing."""
    config_check.check_config(read(), tmp_path)
    environment.check(tmp_path, "train")
    (tmp_path / "dataset.json").write_text("{}")
    (tmp_path / "source_only" / "checkpoints" / "5.unfinished").mkdir(parents=True)
    (tmp_path / "source_only" / "metrics.jsonl").write_text("")
    return tmp_path


def read(*words):
    return recipe.read(f"{tiny.ROOT}/configs/can.py", words)


def test_a_run_that_has_made_nothing_can_be_corrected_in_the_same_workdir(workdir):
    config_check.forget_unless_begun(workdir)
    assert sorted(path.name for path in workdir.iterdir()) == ["source_only"]
    config_check.check_config(read("--config.can.max_loops=9"), workdir)
    assert json.loads((workdir / "config.json").read_text())["can"]["max_loops"] == 9


@pytest.mark.parametrize(
    "saved", ["source_only/checkpoints/5", "can/checkpoints/5.damaged", "can/result.json"]
)
def test_a_run_that_has_made_something_keeps_its_records(workdir, saved):
    (workdir / saved).mkdir(parents=True)
    config_check.forget_unless_begun(workdir)
    assert {"config.json", "dataset.json", "environment.json"} < {
        path.name for path in workdir.iterdir()
    }
    with pytest.raises(UserError, match="another config: can.max_loops=16 there, 9 now"):
        config_check.check_config(read("--config.can.max_loops=9"), workdir)


@pytest.mark.parametrize(
    "content", ['{"compilerOptions": {}}', "[1]", "", '{"stages": ["a"], "task": "x"}']
)
def test_a_config_json_of_another_program_is_never_removed(tmp_path, content):
    """`--workdir=.` in somebody's project."""
    (tmp_path / "config.json").write_text(content)
    config_check.forget_unless_begun(tmp_path)
    assert (tmp_path / "config.json").read_text() == content


def test_a_sweep_lets_a_run_that_has_made_nothing_be_corrected(tmp_path):
    (tmp_path / "seed0").mkdir()
    config_check.check_config(read("--config.can.max_loops=9"), tmp_path / "seed0")
    plan = lambda: sweep_plan.plan(f"{tiny.ROOT}/configs/can.py", "0", None, (), tmp_path, 0)
    plan()
    (tmp_path / "seed0" / "can" / "checkpoints" / "5").mkdir(parents=True)
    with pytest.raises(UserError, match="another config: can.max_loops=9 there, 16 now"):
        plan()


def test_a_user_without_a_home_folder_gets_no_folder_called_tilde(tmp_path, monkeypatch, capsys):
    """A container's user number that no passwd knows."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    with in_process.compiled_programs_kept():
        environment.use_compilation_cache("~/.cache/xla")
    assert "no home folder is known for this user" in capsys.readouterr().out and not os.listdir(
        tmp_path
    )
    with pytest.raises(
        UserError, match="--workdir=~/run: this machine knows no home folder of this user"
    ):
        locations.local_path("~/run", "--workdir")


def test_a_mistake_found_after_the_data_is_mended_with_the_same_command_line(tmp_path, monkeypatch):
    """Widths are counted where the network is built, when config.json has long been written."""
    config = can.get_config()
    changes = {
        "stages": ("source_only",),
        "data.per_class": 2,
        "source_only.steps": 1,
        "source_only.batch_size": 8,
        "evaluation.reestimate_batches": 0,
        "runtime.eval_batch_size": 600,
    }
    config.update_from_flattened_dict(changes | {"model.widths": (4,)})
    with pytest.raises(UserError, match="widths"), in_process.compiled_programs_kept():
        in_process.run(config, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model"]["widths"] == [4]
    config.model.widths = (4, 4, 8)
    monkeypatch.setattr(classification, "build_network", in_process.flat)
    with in_process.compiled_programs_kept():
        in_process.run(config, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model"]["widths"] == [4, 4, 8]
    assert json.loads((tmp_path / "results.json").read_text())["stages"].keys() == {"source_only"}


def test_stray_files_and_links_among_checkpoints_stop_nothing(tmp_path):
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        checkpoints.save(make_state(3), {})
    target = tmp_path / "kept"
    target.mkdir()
    for name in ("x.unfinished", "999", "README", "5.removed"):
        (tmp_path / "c" / name).write_text("")
    (tmp_path / "c" / "8.unfinished").symlink_to(target)
    for name in ("backup", "007", "-1", "²"):
        (tmp_path / "c" / name).mkdir()
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        assert checkpoints.latest_step() == 3
        assert int(checkpoints.restore(make_state())[0].step) == 3
    assert target.is_dir(), "what a link leads to is not ours"
    assert {path.name for path in (tmp_path / "c").iterdir()} == {
        "3",
        "999",
        "README",
        "backup",
        "007",
        "-1",
        "²",
    }


@pytest.mark.parametrize(
    "spoil",
    [
        lambda meta: meta.clear(),
        lambda meta: meta.update(metrics_bytes="many"),
        lambda meta: meta.pop("report"),
        lambda meta: meta.update(report=[1]),
    ],
)
def test_an_old_checkpoint_whose_json_says_something_else_falls_back(tmp_path, spoil, capsys):
    with zipfile.ZipFile(
        tiny.ROOT / "tests" / "golden" / "checkpoints_without_checksums.zip"
    ) as archive:
        archive.extractall(tmp_path)
    path = tmp_path / "7" / "meta" / "metadata"
    meta = json.loads(path.read_text())
    spoil(meta)
    path.write_text(json.dumps(meta))
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        state, meta = checkpoints.restore(make_state(), train._META_TYPES)
    assert int(state.step) == 3 and meta["metrics_bytes"] == 0
    assert "the checkpoint of step 7 is damaged (meta: '" in capsys.readouterr().out


def test_a_list_of_checksums_of_another_checkpoint_vouches_for_none(tmp_path):
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in (3, 7):
            checkpoints.save(make_state(step, float(step)), {})
    shutil.copy(tmp_path / "3" / checksums.NAME, tmp_path / "7" / checksums.NAME)
    os.rename(tmp_path / "3", tmp_path / "4")
    with pytest.raises(
        UserError,
        match=r"damaged are step 7 \(.* is not what was written\), step 4 \(it holds step 3\)",
    ):
        checkpoint.read(tmp_path)


def place(path, kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    {
        "file": lambda: path.write_text(""),
        "loop": lambda: path.symlink_to(path),
        "folder": path.mkdir,
    }[kind]()


@pytest.mark.parametrize(
    "make, name, kind, remedy",
    [
        (
            lambda path: Checkpoints(path, 1),
            "checkpoints",
            "file",
            "something else stands where a folder belongs: move it away",
        ),
        (
            lambda path: Checkpoints(path, 1),
            "checkpoints",
            "loop",
            "something else stands where a folder belongs: move it away",
        ),
        (
            lambda path: Checkpoints(path / "below", 1),
            "can",
            "file",
            "something else stands where a folder was: move it away",
        ),
        (
            lambda path: Checkpoints(path / "below", 1),
            "can",
            "loop",
            "a symbolic link there leads back to itself",
        ),
        (
            lambda path: log.MetricsFile(path, 0),
            "metrics.jsonl",
            "folder",
            "a folder stands where a file belongs: move it away",
        ),
    ],
)
def test_what_stands_in_the_way_has_its_remedy(tmp_path, make, name, kind, remedy):
    place(tmp_path / name, kind)
    with pytest.raises(UserError, match=f"{tmp_path}.*{remedy}"):
        make(tmp_path / name)


def test_evaluation_without_checkpoints_sends_nobody_in_a_circle(tmp_path):
    """Training takes a stage with a result for finished."""
    stage = type("Stage", (), {"name": "can", "directory": tmp_path})
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="can: has no checkpoint under .*; run --mode=train first"):
        stages._evaluate(stage, None)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(
        UserError, match="put them back from a copy, or remove .*result.json and run --mode=train"
    ):
        stages._evaluate(stage, None)


def steps_of(directory):
    return [
        event.step
        for path in sorted(directory.glob("events*"))
        for event in LegacyEventFileLoader(str(path)).Load()
        if event.summary.value
    ]


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: os.truncate(path, 70)])
def test_events_that_are_gone_are_said(tmp_path, capsys, harm):
    board = tensorboard.TensorBoard(tmp_path, 1, {})
    for step in (1, 2, 3):
        board.scalars(step, "train", {"loss": 1.0})
    lengths = board.sync()
    board.close()
    again = tensorboard.TensorBoard(tmp_path, 4, lengths)
    again.close()
    assert capsys.readouterr().out == "" and steps_of(tmp_path) == [1, 2, 3]
    (name,) = lengths
    harm(tmp_path / name)
    tensorboard.TensorBoard(tmp_path, 4, lengths).close()
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and f"of {name} less is left than the checkpoint remembers" in said


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A workdir that dajax.load opens: config.json, dataset.json and one checkpoint of a new
    network.
    """
    workdir = tmp_path_factory.mktemp("opened")
    no_teacher = "--config.can.teacher.momentum=0", "--config.can.predict_with=student"
    config_check.check_config(read(*no_teacher), workdir)
    described = {"class_names": [str(i) for i in range(10)], "image_shape": [32, 32, 1]}
    (workdir / "dataset.json").write_text(json.dumps(described))
    with Checkpoints(workdir / "can" / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(make_state(3), {})
    assert dajax.load(workdir).step == 3
    return workdir


@pytest.mark.parametrize(
    "changes",
    [
        {"task": ["a"]},
        {"task": "bogus"},
        {"task": "segmentation"},
        {"model": None},
        {"model": [1]},
        {"stages": 3},
        {"stages": None},
        {"stages": [["can"]]},
        {"can": None},
        {"can": {"method": ["can"]}},
        {"data": []},
        {"data": {"transform": None}},
    ],
)
def test_a_config_of_other_types_is_a_line_to_a_notebook(opened, tmp_path, changes):
    shutil.copytree(opened, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(
        UserError,
        match=(
            r"config.json: is damaged \(.*run.py with the --workdir and|config.model: backbone.* "
            r"missing"
        ),
    ):
        dajax.load(tmp_path / "run")


@pytest.mark.parametrize("names", [None, 3, [1, 2], {"a": 1}])
def test_class_names_of_other_types_are_a_line_to_a_notebook(opened, tmp_path, names):
    shutil.copytree(opened, tmp_path / "run")
    (tmp_path / "run" / "dataset.json").write_text(json.dumps({"class_names": names}))
    with pytest.raises(UserError, match=r"dataset.json: is damaged \(class_names="):
        dajax.load(tmp_path / "run")


@pytest.mark.parametrize(
    "words, says",
    [
        ("--config.stages=(1,)", "config.stages names '1', which is no stage"),
        ("--config.stages=('seed',)", "config.stages names 'seed', which is no stage"),
        ("--config.stages=({'a': 1},)", "which is no stage"),
        (
            "--config.stages=(b'can',)",
            r"config.stages=.*expected numbers, words and tuples of them; correct --config.stages",
        ),
        (
            "--config.model.widths=(1j,)",
            r"config.model.widths=.*complex is not JSON serializable; expected numbers",
        ),
    ],
)
def test_any_literal_of_python_in_a_tuple_is_one_line(words, says):
    with pytest.raises(UserError, match=says):
        stage_checks.check_before_data(read(words))
