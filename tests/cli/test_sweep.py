"""run.py --seeds, --tasks: what is planned, what the table says, and that nothing is lost when a
run fails or a sweep is stopped.
"""

import csv
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

import in_process
import pytest
import tiny

from dajax.analysis import sweep_tables
from dajax.cli import gpus, recipe, sweep, sweep_plan, sweep_pool, sweep_tasks
from dajax.engine.signals import StopFlag
from dajax.errors import StopRequested, UserError

CAN = str(tiny.ROOT / "configs" / "can.py")
ACCURACY = ("accuracy",)

# In place of run.py: "trains" one stage a time, to an accuracy of 50 + seed; says what it was
# called with; fails, or waits for a signal, on demand.
FAKE = """
import json, os, pathlib, signal, sys, time
words = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)
workdir, seed = pathlib.Path(words["workdir"]), words["config.seed"]
def stop(number, _):
    (workdir / "saved").write_text(str(number))
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, stop), signal.signal(signal.SIGINT, stop)
flags = [word for word in sys.argv[1:] if "=" not in word]
print("training", words["config"], seed, *flags, flush=True)
if "PRINT" in os.environ:
    print(*(word for word in sys.argv if word.startswith("--config.can.")), flush=True)
    print("on", os.environ.get("CUDA_VISIBLE_DEVICES"), "no end of line", end="", flush=True)
if "MEET" in os.environ:  # waits until so many are under way
    (workdir / "here").parent.mkdir(parents=True, exist_ok=True)
    (workdir / "here").write_text("")
    while len(list(workdir.parent.glob("*/here"))) < int(os.environ["MEET"]):
        time.sleep(0.01)
for stage in ("source_only", "can"):
    (workdir / stage).mkdir(parents=True, exist_ok=True)
    if seed in os.environ.get("WAIT", "").split() and stage == "can":
        (workdir / "waiting").write_text("")
        time.sleep(60)
    if os.environ.get("FAIL") == seed and stage == "can":
        sys.exit(1)
    result = {"step": 5, "accuracy": 50.0 + int(seed), "confusion": [[1]]}
    result["mean_class_accuracy"] = 40.0 + int(seed)
    (workdir / stage / "result.json").write_text(json.dumps(result))
(workdir / "results.json").write_text("{}")
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Sweeps run FAKE; the folder that they write to."""
    (tmp_path / "fake.py").write_text(FAKE)
    monkeypatch.setattr(sweep_pool, "RUN", [sys.executable, str(tmp_path / "fake.py")])
    return tmp_path / "sweep"


def classifier(accuracy):
    return {"step": 1, "accuracy": accuracy, "mean_class_accuracy": accuracy - 1}


def rows(table):
    """{first cell: the others} of Markdown."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {line[0]: line[1:] for line in cells if not line[0].startswith("---")}


def test_seeds_of_one_task_stand_side_by_side():
    results = {
        "": {
            3: {"can": classifier(90.0)},
            4: {"can": classifier(92.0)},
            5: {"can": classifier(97.0)},
        }
    }
    table = rows(sweep_tables.markdown(results, ACCURACY, {"can": "**CAN**"}))
    # sqrt((9+1+16)/2)
    assert table == {
        "": ["seed 3", "seed 4", "seed 5", "mean ± std"],
        "**CAN**": ["90.0", "92.0", "97.0", "93.0 ± 3.6"],
    }


def test_tasks_are_columns_and_their_average_is_taken_seed_by_seed():
    results = {
        "a->b": {0: {"can": classifier(80.0)}, 1: {"can": classifier(84.0)}},
        "b->a": {0: {"can": classifier(64.0)}, 1: {"can": classifier(60.0)}},
    }
    table = rows(sweep_tables.markdown(results, ACCURACY, {"can": "can"}))
    assert table[""] == ["a->b", "b->a", "average"]
    assert table["can"] == ["82.0 ± 2.8", "62.0 ± 2.8", "72.0 ± 0.0"]  # each seed averages 72


def test_missing_runs_are_dashes_and_a_mean_over_fewer_says_so():
    some = {"": {0: {"can": classifier(80.0)}, 1: {}, 2: {"can": classifier(82.0)}}}
    assert rows(sweep_tables.markdown(some, ACCURACY, {"can": "can", "mscan": "mscan"})) == {
        "": ["seed 0", "seed 1", "seed 2", "mean ± std"],
        "can": ["80.0", "-", "82.0", "81.0 ± 1.4 (2 of 3)"],
        "mscan": ["-", "-", "-", "-"],
    }
    tasks = {
        "a": {0: {"can": classifier(80.0)}, 1: {"can": classifier(70.0)}},
        "b": {0: {}, 1: {"can": classifier(60.0)}},
        "c": {0: {}, 1: {}},
    }
    assert rows(sweep_tables.markdown(tasks, ACCURACY, {"can": "can"}))["can"] == [
        "75.0 ± 7.1",
        "60.0 (1 of 2)",
        "-",
        "-",
    ]


def test_one_seed_has_no_spread():
    assert rows(
        sweep_tables.markdown({"": {7: {"can": classifier(80.0)}}}, ACCURACY, {"can": "can"})
    )["can"] == ["80.0", "80.0"]


def test_the_recipes_metric_is_the_first_table():
    results = {"": {0: {"can": classifier(80.0)}}}
    for metric, first in (("accuracy", "accuracy"), ("mean-class accuracy", "mean_class_accuracy")):
        config = type("Config", (), {"task": "classification", "metric": metric})
        figures = [figure for (figure,) in sweep_tables.figures_of(config, results)]
        assert figures[0] == first and sorted(figures) == ["accuracy", "mean_class_accuracy"]


def test_segmentation_shows_what_was_measured():
    config = type("Config", (), {"task": "segmentation", "metric": "mIoU"})
    result = {"step": 1, "miou": 30.0, "reestimated": {"miou": 35.0}}
    results = {"": {0: {"plca": result, "pseudo_labels": {"step": 1}}}}
    assert list(sweep_tables.figures_of(config, results)) == [("miou",), ("reestimated", "miou")]
    assert list(sweep_tables.figures_of(config, {"": {0: {}}})) == [("miou",)], (
        "a table of dashes where nothing is finished"
    )
    assert rows(sweep_tables.markdown(results, ("reestimated", "miou"), {"plca": "plca"}))[
        "plca"
    ] == ["35.0", "35.0"]
    assert list(sweep_tables.rows_of(("pseudo_labels", "plca", "later"), results)) == [
        "plca",
        "later",
    ]


def test_the_csv_has_every_number_unrounded():
    results = {
        "a->b": {0: {"can": classifier(80.25)}, 1: {}},
        "b,a": {0: {"can": classifier(60.5)}, 1: {}},
    }
    lines = list(
        csv.reader(sweep_tables.comma_separated(results, [ACCURACY], {"can": "can"}).splitlines())
    )
    assert lines == [
        ["figure", "stage", "task", "seed 0", "seed 1", "mean", "std"],
        ["accuracy", "can", "a->b", "80.25", "", "80.25", ""],
        ["accuracy", "can", "b,a", "60.5", "", "60.5", ""],
        ["accuracy", "can", "average", "70.375", "", "70.375", ""],
    ]


@pytest.mark.parametrize(
    "items, expected",
    [
        ("source=a,target=b", "c.py:office31,root=D,source=a,target=b"),
        ("visda2017", "c.py:visda2017,root=D"),
        ("folder,root=E", "c.py:folder,root=D,root=E"),  # the later one counts
        ("ablations", "c.py:office31,root=D,ablations"),  # a word is no variant
        ("visda2017,ablations", "c.py:visda2017,root=D,ablations"),
    ],
)
def test_a_task_is_appended_or_replaces_the_variant(items, expected):
    assert recipe.with_argument("c.py:office31,root=D", items) == expected
    assert recipe.with_argument("c.py", items) == f"c.py:{items}"
    assert recipe.with_argument("c.py:root=D", items).startswith("c.py:")
    assert list(sweep_tasks.parse(items)) and "ablations" in recipe.with_argument(
        "c.py:ablations", items
    )


def test_overrides_are_passed_on_as_they_stand():
    words = [
        "--config=c.py:x",
        "--config.a=1",
        "--seeds=0",
        "--config.b",
        "-2",
        "--noconfig.c",
        "--workdir",
        "d",
        "-config.e='f'",
        "--config.g",
    ]
    assert recipe.overrides_in([*words, "--mode=train"]) == [
        "--config.a=1",
        "--config.b",
        "-2",
        "--noconfig.c",
        "-config.e='f'",
        "--config.g",
    ]


def test_a_plan_names_runs_by_task_and_seed(tmp_path):
    plan = sweep_plan.plan(
        CAN + ":folder",
        "0,1",
        "source=a,target=b;digits;root=/data/photos,source=b,target=a",
        ("--config.can.max_loops=2",),
        tmp_path,
        0,
    )
    assert [run.label() for run in plan] == [
        "a->b seed 0",
        "a->b seed 1",
        "digits seed 0",
        "digits seed 1",
        "b->a root=photos seed 0",
        "b->a root=photos seed 1",
    ]
    assert [run.workdir.name for run in plan[::2]] == [
        "a-to-b-seed0",
        "digits-seed0",
        "b-to-a-root=-data-photos-seed0",
    ]
    assert (plan[1].config.seed, plan[1].config.data.source, plan[1].config.can.max_loops) == (
        1,
        "a",
        2,
    ) and plan[2].config.data.dataset == "digits"
    (alone,) = sweep_plan.plan(CAN, None, None, (), tmp_path, 4)
    assert (alone.label(), alone.workdir.name, alone.config.seed) == ("seed 4", "seed4", 4)


def test_settings_are_tasks_too_and_columns_are_named_by_what_differs(tmp_path):
    tasks = (
        "digits,config.can.cdd.weight=0.1,config.can.max_loops=2;"
        "--config.can.cdd.weight=0,config.can.max_loops=2,config.stages=('source_only', 'can')"
    )
    plan = sweep_plan.plan(CAN, "0,1", tasks, ("--config.can.max_loops=9",), tmp_path, 0)
    assert [run.task for run in plan[::2]] == [
        "digits weight=0.1",
        "weight=0 stages=('source_only', 'can')",
    ]
    assert [run.recipe for run in plan[::2]] == [CAN + ":digits", CAN]
    assert plan[0].workdir.name == "digits-can.cdd.weight=0.1-can.max_loops=2-seed0"
    assert [run.config.can.cdd.weight for run in plan] == [0.1, 0.1, 0.0, 0.0]
    assert {run.config.can.max_loops for run in plan} == {2}, "a task's setting is the later one"
    assert plan[2].config.stages == ("source_only", "can")


def test_columns_of_two_keys_with_one_last_word_have_as_much_of_them_as_tells_them_apart():
    tasks = "config.can.cdd.weight=1,config.a.b=1;config.x.weight=1;config.a.b=1"
    assert list(sweep_tasks.parse(tasks)) == ["cdd.weight=1 b=1", "x.weight=1", "b=1"]
    assert list(sweep_tasks.parse("config.a.b=1")) == ["b=1"], "where nothing differs all is named"


def test_columns_that_would_be_called_the_same_have_their_whole_names():
    tasks = sweep_tasks.parse("root=/x/photos;root=/y/photos")
    assert (
        list(tasks) == ["root=/x/photos", "root=/y/photos"]
        and len({task.folder for task in tasks.values()}) == 2
    )


@pytest.mark.parametrize(
    "seeds, tasks, overrides, says",
    [
        ("0,1,0", None, (), "twice"),
        ("0,one", None, (), "whole numbers"),
        ("", None, (), "whole numbers"),
        ("0", "source=a,target=b;", (), "is no task"),
        ("0", "source=a,webcam", (), "is no task"),
        ("0", "digits;digits", (), "twice"),
        ("0", "sorce=a", (), "sorce=a"),
        ("0", "digit", (), "unknown variant 'digit'; known: digits"),
        ("0", None, ("--config.seed=3",), "leave one of them out"),
        ("0", None, ("--config.can.cdd.wieght=3",), "wieght"),
        ("0", "digits;config.can.cdd.wieght=3", (), 'Did you mean "weight"'),
        ("0", "digits;config.can.nix=3", (), "--tasks, '--config.can.nix=3': "),
        ("0", "config.can.cdd.weight=0;config.can.cdd.weight=x", (), "could not convert"),
        ("0", "config.can.cdd.weight=0;config.can.cdd.weight=-1", (), "expected at least 0"),
        ("0", "config.can.cdd.weight=1e-3;config.can.cdd.weight=0.001", (), "are the same run"),
        ("0", "config.can.cdd.weight=1;config.can.cdd.weight=1", (), "stands there twice"),
        ("0", "config.can.max_loops=1,config.can.max_loops=2", (), "config.can.max_loops twice"),
        ("0", "config.can.max_loops", (), "expected config.key=value"),
        ("0", "config.stages=('can',;digits", (), "lacks a closing )"),
        ("0", "config.seed=3", (), "use --seeds"),
        ("0", None, ("--config.runtime.profile=9",), "expected FIRST:LAST"),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line(tmp_path, seeds, tasks, overrides, says):
    with pytest.raises(UserError) as error:
        sweep_plan.plan(CAN, seeds, tasks, overrides, tmp_path, 0)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_sweep_trains_only(tmp_path):
    flags = ["--seeds=0,1", "--mode=check_data", f"--workdir={tmp_path / 'sweep'}"]
    result = subprocess.run(
        [sys.executable, "run.py", "--config=configs/can.py", *flags],
        cwd=tiny.ROOT,
        env=tiny.environment(),
        capture_output=True,
        text=True,
    )
    assert (
        result.returncode == 1
        and result.stderr.strip()
        == "error: --seeds and --tasks are for training; leave them out with --mode=check_data"
    )


def test_a_failing_run_loses_no_other_and_the_next_call_tries_it_again(fake, monkeypatch, capfd):
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(UserError, match=r"1 of 3 runs failed: seed 1 \(exit status 1\)"):
        sweep.run(CAN, "0,1,2", None, ("--config.can.max_loops=2",), fake, 0)
    said = capfd.readouterr().out
    assert (
        "run 2/3: seed 1\ntraining" in said
        and "run 2/3: seed 1: failed, exit status 1\nrun 3/3: seed 2\n" in said
    )
    table = rows((fake / "table.md").read_text().split("\n\n")[2])
    assert table["can"] == ["50.0", "-", "52.0", "51.0 ± 1.4 (2 of 3)"]
    assert table["source_only"] == [
        "50.0",
        "51.0",
        "52.0",
        "51.0 ± 1.0",
    ], "a finished stage counts where the run failed later"

    monkeypatch.delenv("FAIL")
    sweep.run(CAN, "0,1,2", None, ("--config.can.max_loops=2",), fake, 0)
    said = capfd.readouterr().out
    assert "run 1/3: seed 0: already finished" in said and said.count("training") == 1
    raw = json.loads((fake / "sweep.json").read_text())
    assert raw["results"][""]["1"]["can"] == {
        "step": 5,
        "accuracy": 51.0,
        "mean_class_accuracy": 41.0,
    }
    assert raw["seeds"] == [0, 1, 2] and raw["overrides"] == ["--config.can.max_loops=2"]
    assert "accuracy,can,,50.0,51.0,52.0,51.0,1.0" in (fake / "table.csv").read_text().splitlines()


def test_tasks_are_recipes_of_their_own(fake, capfd):
    sweep.run(CAN, "0,1", "digits;ablations", (), fake, 0)
    said = capfd.readouterr().out
    assert f"run 3/4: ablations seed 0\ntraining {CAN}:ablations 0" in said
    assert (
        "| can | 50.5 ± 0.7 | 50.5 ± 0.7 | 50.5 ± 0.7 |" in said and "| adabn | - | - | - |" in said
    )


def test_the_runs_of_a_sweep_show_tracebacks_where_it_is_asked_to(fake, capfd):
    sweep.run(CAN, "3", None, (), fake, 0, ["--debug"])
    assert f"training {CAN} 3 --debug\n" in capfd.readouterr().out


def test_a_table_of_settings_has_no_average_and_names_its_tasks(fake, capfd):
    tasks = "config.can.max_loops=2;config.can.max_loops=3"
    sweep.run(CAN, "0,1", tasks, (), fake, 0)
    assert "| | max_loops=2 | max_loops=3 |\n" in capfd.readouterr().out
    text = (fake / "table.md").read_text()
    assert "| can | 50.5 ± 0.7 | 50.5 ± 0.7 |\n" in text and f"'--tasks={tasks}'`\n" in text
    assert "average" not in (fake / "table.csv").read_text()
    assert json.loads((fake / "sweep.json").read_text())["settings"] == {
        f"max_loops={n}": [f"--config.can.max_loops={n}"] for n in (2, 3)
    }
    assert (fake / "can.max_loops=3-seed1" / "results.json").exists()


def test_two_runs_at_once_have_a_gpu_each_and_their_names_before_their_lines(
    fake, monkeypatch, capfd
):
    monkeypatch.setattr(gpus, "visible", lambda: ["GPU-a", "GPU-b"])
    monkeypatch.setenv("PRINT", "")
    tasks = "config.can.max_loops=2;config.can.max_loops=3"
    sweep.run(CAN, "0", tasks, (), fake / "one", 0)
    said = capfd.readouterr().out
    assert "training" in said and "on None" in said and "[" not in said.partition("`")[0]
    monkeypatch.setenv("MEET", "2")  # one after the other would wait forever
    sweep.run(CAN, "0", tasks, (), fake / "two", 0, parallel=2)
    said = capfd.readouterr().out.splitlines()
    for n, gpu in ((2, "GPU-a"), (3, "GPU-b")):
        mine = [line for line in said if line.startswith(f"[max_loops={n} seed 0] ")]
        assert [line.partition("] ")[2] for line in mine] == [
            f"training {CAN} 0",
            f"--config.can.max_loops={n}",
            f"on {gpu} no end of line",
        ]
        assert f"run {n - 1}/2: max_loops={n} seed 0: finished" in said
    for name in ("table.md", "table.csv", "sweep.json"):
        assert (fake / "one" / name).read_bytes() == (fake / "two" / name).read_bytes()


def test_a_gpu_goes_from_a_run_that_has_ended_to_the_next(monkeypatch):
    class Ended:
        output = None

        def __init__(self, run, *_, gpu, **__):
            self.run, self.gpu = run, gpu

        def status(self):
            return 0

    monkeypatch.setattr(sweep_pool, "Child", Ended)
    pool, given = sweep_pool.Pool(2, StopFlag(), ["GPU-a", "GPU-b"]), {}
    for run in range(5):
        if pool.is_full():
            child, status = pool.next_end()
            given[child.run] = child.gpu
            assert status == 0
        pool.start(run, "", (), None)
    assert given == {0: "GPU-a", 1: "GPU-b", 2: "GPU-a"}


def test_of_several_runs_at_once_one_that_fails_stops_no_other(fake, monkeypatch, capfd):
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(UserError, match=r"1 of 4 runs failed: seed 1 \(exit status 1\)"):
        sweep.run(CAN, "0,1,2,3", None, (), fake, 0, parallel=3)
    assert "run 2/4: seed 1: failed, exit status 1" in capfd.readouterr().out
    assert (
        "| can | 50.0 | - | 52.0 | 53.0 | 51.7 ± 1.5 (3 of 4) |" in (fake / "table.md").read_text()
    )


@pytest.mark.parametrize(
    "devices, overrides, says",
    [
        (["0"], (), "--parallel=2: each run takes a GPU, and there are 1"),
        (["0", "1"], ("--config.runtime.devices=2",), "leave one of them out"),
    ],
)
def test_more_runs_at_once_than_gpus_are_refused(fake, monkeypatch, devices, overrides, says):
    monkeypatch.setattr(gpus, "visible", lambda: devices)
    with pytest.raises(UserError, match=says):
        sweep.run(CAN, "0,1", None, overrides, fake, 0, parallel=2)
    assert not (fake / "seed0").exists()


def test_gpus_are_those_that_jax_would_take(monkeypatch, tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho GPU-a\necho GPU-b\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.visible() == [], "the tests' JAX takes the CPU"
    monkeypatch.setattr(gpus, "has_cuda_plugin", lambda: True)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    assert gpus.visible() == ["GPU-a", "GPU-b"]
    for named, found in (("1, 3", ["1", "3"]), ("2,-1,0", ["2"]), ("", []), ("-1", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert gpus.visible() == found
    monkeypatch.setattr(gpus, "has_cuda_plugin", lambda: False)
    assert gpus.visible() == []


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--seeds=0", "--parallel=0"], "--parallel=0"),
        (["--seeds=0", "--parallel=two"], "--parallel=two"),
        (["--parallel=2"], "error: --parallel is for --seeds and --tasks; leave it out"),
    ],
)
def test_a_number_of_runs_at_once_that_makes_no_sense_is_one_line(tmp_path, flags, says):
    said = in_process.command_line(f"--config={CAN}", f"--workdir={tmp_path / 'sweep'}", *flags)
    assert says in said and "\n" not in said and not (tmp_path / "sweep").exists()


def test_a_signal_stops_all_runs_at_once_and_the_same_command_goes_on(fake, monkeypatch, capfd):
    monkeypatch.setenv("WAIT", "0 1")

    def interrupt():
        while not all((fake / f"seed{i}" / "waiting").exists() for i in (0, 1)):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(StopRequested):
        sweep.run(CAN, "0,1,2", None, (), fake, 0, parallel=2)
    thread.join()
    assert all((fake / f"seed{i}" / "saved").read_text() == "15" for i in (0, 1))
    assert not (fake / "seed2").exists()
    monkeypatch.delenv("WAIT")
    sweep.run(CAN, "0,1,2", None, (), fake, 0, parallel=2)
    assert "| can | 50.0 | 51.0 | 52.0 | 51.0 ± 1.0 |" in capfd.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_handed_on_once_and_stops_the_sweep(fake, monkeypatch, number):
    monkeypatch.setenv("WAIT", "1")

    def interrupt():
        while not (fake / "seed1" / "waiting").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(StopRequested) as stopped:
        sweep.run(CAN, "0,1,2", None, (), fake, 0)
    thread.join()
    assert stopped.value.signal == number and (fake / "seed1" / "saved").read_text() == str(
        int(number)
    )
    assert (
        not (fake / "seed2").exists()
        and "| can | 50.0 | - | - |" in (fake / "table.md").read_text()
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the run goes on, and the lock holds")
def test_a_sweep_that_is_killed_outright_takes_its_run_along(fake):
    program = (
        "from dajax.cli import sweep, sweep_pool;"
        f" sweep_pool.RUN = {sweep_pool.RUN!r}; sweep.run({CAN!r}, '1', None, (), {str(fake)!r}, 0)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tiny.ROOT, env=tiny.environment() | {"WAIT": "1"}
    )
    deadline = time.monotonic() + 60
    for path in (fake / "seed1" / "waiting", fake / "seed1" / "saved"):
        while not path.exists():
            assert time.monotonic() < deadline, path
            time.sleep(0.05)
        process.kill()
    process.wait()


def test_runs_of_another_config_are_refused_before_anything_runs(fake):
    (fake / "seed1").mkdir(parents=True)
    (fake / "seed1" / "config.json").write_text(
        recipe.read(CAN, ["--config.seed=1", "--config.can.max_loops=3"]).to_json()
    )
    (fake / "seed1" / "source_only" / "checkpoints" / "5").mkdir(parents=True)
    with pytest.raises(
        UserError, match="seed1 was begun with another config: can.max_loops=3 there, 16 now"
    ):
        sweep.run(CAN, "0,1", None, (), fake, 0)
    assert not (fake / "seed0").exists()


def test_the_table_of_readme_is_a_sweep_with_titles(fake, monkeypatch, capfd):
    monkeypatch.syspath_prepend(tiny.ROOT / "docs" / "scripts")
    import seeds_table

    monkeypatch.setattr(
        sys,
        "argv",
        ["seeds_table.py", "digits", "--seeds=3,4", f"--folder={fake}", "--config.can.max_loops=2"],
    )
    seeds_table.main()
    said = capfd.readouterr().out
    assert (
        "accuracy in % on all 1,797 target images, at the last step" in said
        and (fake / "digits-seed3" / "results.json").exists()
    )
    assert (
        "| source only | 53.0 | 54.0 | 53.5 ± 0.7 |" in said
        and "| CAN, CDD weight 0 | - | - | - |" in said
    )


def test_the_results_of_a_real_run_are_found_and_tabulated(tiny_run, tmp_path):
    shutil.copytree(tiny_run[0], tmp_path / "sweep" / "seed0")
    result = tiny.run(tmp_path / "sweep", "--seeds=0")
    assert (
        result.stdout.startswith("run 1/1: seed 0: already finished\n")
        and "versions:" not in result.stdout
    )
    stages = json.loads((tmp_path / "sweep" / "seed0" / "results.json").read_text())["stages"]
    assert rows((tmp_path / "sweep" / "table.md").read_text().split("\n\n")[2]) == {
        "": ["seed 0", "mean ± std"],
        **{name: [f"{result['accuracy']:.1f}"] * 2 for name, result in stages.items()},
    }


def test_runs_without_a_label_to_measure_by_have_no_table(fake, capfd):
    folder, words = fake / "seed0", ("--config.stages=('can',)",)
    (folder / "can").mkdir(parents=True)
    (folder / "results.json").write_text("{}")
    (folder / "can" / "result.json").write_text('{"step": 3, "label_free_entropy": 0.5}')
    sweep.run(CAN, "0", None, words, fake, 0)
    said = capfd.readouterr().out
    assert "nothing was measured: the target has no labels" in said and "accuracy in %" not in said


@pytest.mark.slow
def test_a_real_sweep_is_stopped_continued_and_ends_in_its_table(tmp_path):
    flags = [flag for flag in tiny.TINY if not flag.startswith("--config.can.")] + [
        "--config.stages=('source_only',)",
        "--seeds=3,4",
    ]
    command = [
        sys.executable,
        "run.py",
        *flags,
        f"--config.runtime.compilation_cache={tiny.CACHE}",
        f"--workdir={tmp_path / 'sweep'}",
    ]
    pipes = dict(
        cwd=tiny.ROOT,
        env=tiny.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    process = subprocess.Popen(command, **pipes)
    while (
        process.poll() is None
        and not (tmp_path / "sweep" / "seed3" / "source_only" / "metrics.jsonl").exists()
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output = process.communicate()[0]
    assert process.returncode == 128 + signal.SIGTERM, output
    assert (
        output.splitlines()[-2].startswith(
            f"stopped; everything so far is saved under {tmp_path / 'sweep'};"
        )
        and "Traceback" not in output
    )

    result = subprocess.run(command, **pipes)
    assert result.returncode == 0 and "run 2/2: seed 4" in result.stdout, result.stdout
    again = subprocess.run(command, **pipes).stdout
    assert (
        again.startswith("run 1/2: seed 3: already finished\nrun 2/2: seed 4: already finished\n")
        and again.count("versions:") == 0
    )
    figures = [
        json.loads((tmp_path / "sweep" / f"seed{seed}" / "results.json").read_text())["stages"][
            "source_only"
        ]["accuracy"]
        for seed in (3, 4)
    ]
    mean, spread = statistics.mean(figures), statistics.stdev(figures)
    assert (
        f"| source_only | {figures[0]:.1f} | {figures[1]:.1f} | {mean:.1f} ± {spread:.1f} |"
        in again
    )
    assert pathlib.Path(tmp_path / "sweep" / "table.md").read_text() in again
