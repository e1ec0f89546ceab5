"""What a run shows beside its files: lines and a bar, TensorBoard, Weights & Biases, a trace."""

import contextlib
import io
import json
import re
import sys
import types

import in_process
import numpy as np
import pytest
import tiny
import toy_task
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dajax import console, tasks
from dajax.engine import (
    config_ranges,
    old_config,
    profiling,
    stage_checks,
    stages,
    train,
    wandb_run,
)
from dajax.engine.recorder import Recorder
from dajax.engine.tensorboard import read_scalars
from dajax.errors import StopRequested, UserError
from dajax.tasks.common import Evaluation
from data_pipeline.segmentation.labels import CITYSCAPES


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    toy_task.install(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(workdir, what it printed) of a run of both stages."""
    workdir, said = tmp_path_factory.mktemp("finished") / "run", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        toy_task.install(patch)
        toy_task.run(toy_task.config(), workdir)
    return workdir, said.getvalue()


def test_the_settings_are_one_line_and_are_printed_on_request(finished, capsys):
    workdir, said = finished
    (line,) = [line for line in said.splitlines() if line.startswith("config: ")]
    assert re.fullmatch(
        rf"config: \d+ settings, in {workdir}/config.json; --print_config shows them", line
    )
    assert " = " not in said
    config = toy_task.config(**{"runtime.report_seconds": 7.0, "runtime.devices": 1})
    stages.run(config, workdir, "train", print_config=True)
    said = capsys.readouterr().out
    assert "config.json, but for runtime.checkpoint_every=200, " in said
    assert "runtime.report_seconds=7.0" in said and "--print_config" not in said
    assert "  first.rate = 0.1\n" in said


def test_the_config_is_printed_by_modes_that_have_a_head_alone(tmp_path):
    config = f"--config={tiny.ROOT}/configs/can.py"
    said = in_process.command_line(config, "--mode=check_data", "--print_config")
    assert said.startswith("error: --print_config is for --mode=train and --mode=eval")


def test_compiling_is_said_when_it_begins_and_when_it_ends(finished):
    _, said = finished
    for stage in ("first", "second"):
        begin = f"{stage}: compiling the train step ..."
        assert f"{begin}\n" in said
        assert re.search(re.escape(begin) + r" \([\d.]+ s\)\n", said)


def test_a_terminal_has_both_in_one_line(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    with console.timed("compiling"):
        pass
    assert sys.stdout.getvalue() == "compiling ...\n\033[Fcompiling ... (0.0 s)\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


FIGURES = {"grad_norm": 2.0, "loss": 0.51234}


def test_the_bar_and_the_lines_have_loss_rate_time_left_and_wait(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "120")
    bar = console.Progress("can", 0, 8, 0.0)
    monkeypatch.setattr(bar._bar, "mininterval", 0.0)
    for step in range(1, 5):
        bar.update(step, 9, 0.0, FIGURES)
    shown = sys.stderr.getvalue().replace("\r", "\n").splitlines()[-1]
    assert shown.startswith("can: ") and "4/9 [" in shown and "<" in shown
    assert re.search(r"loss 0\.5123, \d+ images/s, data wait 0 %\]", shown)
    bar.close()
    capsys.readouterr()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    lines = console.Progress("can", 0, 8, 0.0)
    for step in (1, 2):
        lines.update(step, 9, 0.0, FIGURES)
    assert re.fullmatch(
        r"can: step 2/9, \d+ images/s, data wait 0 %, 0:00:01 left, grad_norm 2 loss 0\.5123\n",
        capsys.readouterr().out,
    )


def test_throughput_is_that_of_the_steps_since_it_was_asked_for(monkeypatch):
    clock = iter([0.0, 10.0, 11.0, 12.0, 16.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    progress = console.Progress("can", 0, 8, 1000.0)
    progress.update(1, 9, 0.0, {})
    assert progress.throughput() == {}, "the first step compiles"
    progress.update(2, 9, 0.0, {})
    progress.update(3, 9, 0.5, {})
    assert progress.throughput() == {"images_per_second": 8.0, "data_wait_percent": 25.0}
    progress.pause(2.0)
    progress.update(4, 9, 0.0, {})
    assert progress.throughput() == {"images_per_second": 4.0, "data_wait_percent": 0.0}
    assert progress.throughput() == {}


def test_evaluations_and_refreshes_are_no_time_of_the_steps(monkeypatch, capsys):
    """And each says once that it is compiled first."""
    paused, clock = [], iter([10.0, 13.0, 20.0, 24.0])
    monkeypatch.setattr(train, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    loop = object.__new__(train._Loop)
    loop.stage, loop.compiled = types.SimpleNamespace(name="can"), set()
    loop.recorder = types.SimpleNamespace(drain=lambda: None)
    loop.progress = types.SimpleNamespace(pause=paused.append)
    for _ in range(2):
        with loop._between_steps("evaluation"):
            pass
    assert paused == [3.0, 4.0]
    assert capsys.readouterr().out == "can: compiling and running the first evaluation ...\n"


def test_a_refresh_fits_the_terminal_and_breaks_between_figures(capsys):
    names = [f"a_figure_with_a_long_name_{i}_evaluation_only" for i in range(10)]
    console.say_list("can: refresh at step 28 in 1.6 s: ", [f"{name} 39.28" for name in names])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3 and max(map(len, lines)) <= 120
    assert lines[0].startswith("can: refresh at step 28 in 1.6 s: a_figure")
    assert all(line.startswith("  a_figure") for line in lines[1:])
    assert " ".join(map(str.strip, lines)).count(" 39.28") == 10


def shown(directory):
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def recorder(tmp_path):
    """A Recorder of a stage of two classes."""
    task = types.SimpleNamespace(legend_of_pictures=lambda data: [("road", (1, 2, 3))])
    sets = {"source": types.SimpleNamespace(class_names=("a", "b"))}
    stage = train.Stage(
        **dict.fromkeys(
            ("stage_config", "method", "model", "initial_state", "random_state", "stop")
        ),
        name="first",
        config=toy_task.config(),
        data=types.SimpleNamespace(sets=sets),
        task=task,
        directory=tmp_path,
    )
    return Recorder(stage, 0, {"metrics_bytes": 0, "event_bytes": {}})


def test_tensorboard_has_classes_the_confusion_matrix_and_pictures_with_a_legend(tmp_path):
    made = recorder(tmp_path)
    report = {
        "miou": 40.0,
        "iou": {"a": 30.0, "b": None},
        "reestimated": {"miou": 45.0, "iou": {"a": 35.0, "b": 55.0}},
        "confusion": [[3, 1], [0, 4]],
    }
    picture = np.zeros((20, 300, 3), np.uint8)
    made.evaluation(8, Evaluation(report, "", {"0000": picture}))
    made.show(8, "throughput", {"images_per_second": 5.0})
    made.close()
    events = shown(tmp_path)
    assert set(events.Tags()["scalars"]) == {
        "evaluation/miou",
        "evaluation/iou/a",
        "evaluation/reestimated/miou",
        "evaluation/reestimated/iou/a",
        "evaluation/reestimated/iou/b",
        "throughput/images_per_second",
    }
    assert set(events.Tags()["images"]) == {"pictures/0000", "pictures/confusion"}
    (drawn,) = events.Images("pictures/0000")
    with Image.open(io.BytesIO(drawn.encoded_image_string)) as image:
        pixels = np.asarray(image)
    assert pixels.shape[0] > 20 and (pixels[20:] == (1, 2, 3)).all(-1).any()
    with Image.open(tmp_path / "pictures" / "0000.png") as image:
        assert image.size == (300, 20)
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {
        "step": 8,
        "kind": "evaluation",
        **{key: value for key, value in report.items() if key != "confusion"},
    }


def test_numbers_of_the_boards_are_read_back_and_a_torn_end_is_skipped(tmp_path):
    made = recorder(tmp_path)
    for step, rate in ((8, 5.0), (16, 7.0)):
        made.show(step, "throughput", {"images_per_second": rate, "data_wait_percent": 1.0})
    made.close()
    assert read_scalars(tmp_path, "train") == read_scalars(tmp_path / "no", "throughput") == {}
    assert read_scalars(tmp_path, "throughput") == {
        "images_per_second": [5.0, 7.0],
        "data_wait_percent": [1.0, 1.0],
    }
    (path,) = tmp_path.glob("events*")
    path.write_bytes(path.read_bytes()[:-3])
    assert read_scalars(tmp_path, "throughput")["images_per_second"] == [5.0]


def test_a_segmentations_legend_has_its_classes_and_what_the_last_panel_means():
    known = dict(class_names=CITYSCAPES.class_names, space=CITYSCAPES)
    legend_of = tasks.get("segmentation").legend_of_pictures
    assert len(legend_of(types.SimpleNamespace(has_evaluation_labels=False, **known))) == 19
    entries = legend_of(types.SimpleNamespace(has_evaluation_labels=True, **known))
    assert [text for text, _ in entries[:2]] == ["road", "sidewalk"] and len(entries) == 19 + 3
    assert tuple(entries[0][1]) == (128, 64, 128) and ("wrong", (220, 40, 40)) in entries


def test_throughput_is_on_the_board_and_not_in_the_record(finished):
    workdir, _ = finished
    events = shown(workdir / "first")
    steps = [event.step for event in events.Scalars("throughput/images_per_second")]
    assert steps == [2, 3], "the first step compiles"
    kinds = {line["kind"] for line in in_process.metrics(workdir, "first")}
    assert kinds == {"train", "evaluation"}


FAKE = """
import json, pathlib
class Error(Exception): pass
class Image:
    def __init__(self, image): self.size = image.size
class Run:
    def __init__(self, id): self.id = id
    def define_metric(self, *args, **kwargs): say("metric", args, kwargs)
    def log(self, values):
        say("log", {k: list(v.size) if isinstance(v, Image) else v for k, v in values.items()})
    def finish(self, **kwargs): say("finish", kwargs)
def say(*what):
    with open(LOG, "a") as file: file.write(json.dumps(what) + "\\n")
def init(*, id, project, dir, **kwargs):
    if project == "nobody": raise Error("No API key configured.\\nUse `wandb login`")
    say("init", project, id, kwargs["entity"], kwargs["resume"], kwargs["config"]["seed"])
    return Run(id or "run-1")
"""


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """A package wandb that writes down what it is told; f() -> list of that, forgotten then."""
    folder, log = tmp_path / "packages", tmp_path / "wandb.log"
    folder.mkdir()
    (folder / "wandb.py").write_text(f"LOG = {str(log)!r}\n{FAKE}")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)

    def told():
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        log.unlink()
        return lines

    yield told
    sys.modules.pop("wandb", None)


def test_weights_and_biases_gets_the_figures_and_a_resumed_run_goes_on_there(tmp_path, wandb):
    config = lambda **changes: toy_task.config(**{"runtime.wandb": "me/digits", **changes})
    workdir = tmp_path / "run"
    toy_task.run(config(stages=("first",)), workdir)
    told = wandb()
    assert told[0] == ["init", "digits", None, "me", "allow", 0]
    assert ["metric", ["first/*"], {"step_metric": "first/step"}] in told
    logged = [what[1] for what in told if what[0] == "log"]
    assert [x["first/step"] for x in logged if "first/train/loss" in x] == [1, 2, 3]
    assert any("first/evaluation/accuracy" in x for x in logged)
    assert any("first/throughput/images_per_second" in x for x in logged)
    assert told[-1] == ["finish", {"exit_code": 0}]
    assert json.loads((workdir / wandb_run.FILE).read_text()) == {"me/digits": "run-1"}
    toy_task.run(config(), workdir)  # with its second stage
    told = wandb()
    assert told[0] == ["init", "digits", "run-1", "me", "allow", 0]
    logged = [what[1] for what in told if what[0] == "log"]
    assert logged and not any("first/step" in x for x in logged), "it is finished"
    toy_task.run(config(**{"runtime.wandb": "other"}), workdir)
    assert wandb()[0][1:3] == ["other", None], "another project has a run of its own"
    assert set(json.loads((workdir / wandb_run.FILE).read_text())) == {"me/digits", "other"}


def test_pictures_reach_weights_and_biases(tmp_path, wandb):
    run = wandb_run.WandbRun(toy_task.config(**{"runtime.wandb": "p"}), tmp_path)
    (stage,) = run.of_stage("first")
    stage.picture(7, "confusion", np.zeros((2, 3, 3), np.uint8))
    assert wandb()[-1] == ["log", {"first/pictures/confusion": [3, 2], "first/step": 7}]


@pytest.mark.parametrize("error, code", [(UserError("x"), 1), (StopRequested(2), 0)])
def test_weights_and_biases_is_told_how_a_run_ended(tmp_path, wandb, error, code):
    config = toy_task.config(**{"runtime.wandb": "p"})
    with pytest.raises(type(error)), wandb_run.begun(config, tmp_path):
        raise error
    assert wandb()[-1] == ["finish", {"exit_code": code}]


def test_weights_and_biases_that_refuses_is_one_line_before_any_training(tmp_path, wandb):
    with pytest.raises(UserError) as error:
        toy_task.run(toy_task.config(**{"runtime.wandb": "nobody"}), tmp_path / "run")
    said = str(error.value)
    assert "\n" not in said and "config.runtime.wandb='nobody': No API key" in said
    assert "`wandb login`" in said and not (tmp_path / "run" / "first").exists()


def test_weights_and_biases_that_is_not_installed_is_one_line(tmp_path, monkeypatch):
    config = toy_task.config(**{"runtime.wandb": "p"})
    (tmp_path / "packages" / "wandb").mkdir(parents=True)  # what W&B leaves is no package
    namespace = types.SimpleNamespace(origin=None)
    for found in (None, namespace):
        monkeypatch.setattr(wandb_run.importlib.util, "find_spec", lambda name, x=found: x)
        with pytest.raises(UserError, match="is not installed: pip install wandb, or leave"):
            toy_task.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_a_project_weights_and_biases_is_not_imported(tmp_path, wandb):
    with wandb_run.begun(toy_task.config(), tmp_path) as run:
        assert run.of_stage("first") == ()
    assert "wandb" not in sys.modules and not (tmp_path / wandb_run.FILE).exists()


@pytest.mark.parametrize("text", ["10", "15:10", "0:3", "a:b", "1:2:3", "-1:4", "10:"])
def test_steps_to_trace_that_are_none_are_one_line(text):
    with pytest.raises(UserError, match="expected FIRST:LAST, two steps from 1 on") as error:
        config_ranges.steps_to_trace(text)
    assert "\n" not in str(error.value) and f"'{text}'" in str(error.value)


def test_steps_to_trace_are_looked_at_before_the_data():
    with pytest.raises(UserError, match="config.runtime.profile='9': expected FIRST:LAST"):
        stage_checks.check_before_data(toy_task.config(**{"runtime.profile": "9"}))


def test_a_trace_changes_no_figure_and_stands_below_the_stage(finished, tmp_path, capsys):
    config = toy_task.config(**{"runtime.profile": "2:3", "second.steps": 1})
    toy_task.run(config, tmp_path)
    said = capsys.readouterr().out
    folder = tmp_path / "first" / "profile"
    assert f"first: a trace of steps 2 to 3 is in {folder}\n" in said
    assert "second: ends at step 1, so that there is no trace\n" in said
    assert list(folder.rglob("*.xplane.pb"))
    assert in_process.metrics(tmp_path, "first") == in_process.metrics(finished[0], "first")


def test_a_trace_that_is_cut_short_or_too_late_says_so(tmp_path, capsys):
    late = profiling.Profile("can", "2:3", tmp_path, 5)
    late.before(6), late.after(6, ()), late.close()
    assert capsys.readouterr().out == "can: stands at step 5, so that steps 2:3 are not traced\n"


def test_workdirs_of_before_have_the_new_keys_off():
    assert old_config.with_added_keys({"runtime": {"devices": 2}})["runtime"] == {
        "devices": 2,
        "wandb": "",
        "profile": "",
        "coordinator": "",
        "num_processes": 0,
        "process_id": 0,
        "cache_gb": 0.0,
        "cache_dir": "~/.cache/dajax/images",
    }
