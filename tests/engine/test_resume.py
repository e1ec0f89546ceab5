"""Exact resume, through the real command line: the same command again ends with the same bits,
however the run was stopped.

What kills or stops a run starts processes; a finished run is called again within this one.
"""

import json
import random
import shutil
import signal
import subprocess
import time

import in_process
import numpy as np
import pytest
import tiny


def start(workdir):
    return subprocess.Popen(
        tiny.command(workdir),
        cwd=tiny.ROOT,
        env=tiny.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until_it_writes(workdir, process, seconds=120):
    """Returns once the run has reached its loop: a metrics file has appeared or grown."""
    before = sizes(workdir)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None and sizes(workdir) == before:
        time.sleep(0.02)


def wait_until_it_steps(workdir, process, seconds=120):
    """Returns once a figure of a step has been written: from then on a signal has something to
    save.

    Before the first step of a stage it has not, and ends the process at once.
    """
    before = written(workdir)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None and written(workdir) <= before:
        time.sleep(0.02)


def written(workdir):
    return sum(path.stat().st_size for path in workdir.glob("*/metrics.jsonl"))


def sizes(workdir):
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in workdir.glob("*/metrics.jsonl")
    }


@pytest.mark.slow  # of the default suite: tests/faults/test_kills.py
@pytest.mark.parametrize("kills", [2, 10])
def test_killed_again_and_again_it_ends_with_the_same_bits(tiny_run, tmp_path, kills):
    workdir, moments = tmp_path / "run", random.Random(kills)
    for _ in range(kills):
        process = start(workdir)
        wait_until_it_writes(workdir, process)
        # inside steps, k-means, evaluation, or a checkpoint being written
        time.sleep(moments.uniform(0.0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if (workdir / "results.json").exists():
            break
    tiny.run(workdir)
    tiny.assert_same_outcome(tiny_run[0], workdir)


@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGTERM,),
        (signal.SIGINT, signal.SIGTERM, signal.SIGINT),
    ],
    ids=["once", "thrice"],
)
@pytest.mark.slow  # tests/faults/test_signals.py has the short form
def test_polite_stops_save_say_how_to_go_on_and_lose_nothing(tiny_run, tmp_path, numbers):
    workdir = tmp_path / "run"
    for number in numbers:
        process = start(workdir)
        wait_until_it_steps(workdir, process)
        process.send_signal(number)
        output = process.communicate()[0]
        assert process.returncode == 128 + number, output
        assert "to continue, run the same command again" in output and "Traceback" not in output
    # a stop between two stages leaves nothing to continue within one
    output = tiny.run(workdir).stdout
    assert "continues at step" in output or "already finished" in output, output
    tiny.assert_same_outcome(tiny_run[0], workdir)


def test_a_finished_run_says_so_and_prints_its_table(tiny_run):
    workdir, first = tiny_run
    again = in_process.checked(in_process.process(tiny.words(workdir)))
    assert again.stdout.count("already finished") == 2
    table = first.stdout[first.stdout.index("target accuracy in %") :]
    assert again.stdout.endswith(table)


def test_another_config_in_the_same_workdir_is_refused_by_key(tiny_run):
    flags = ("--config.seed=4", "--config.can.cdd.weight=0.5")
    result = in_process.process(tiny.words(tiny_run[0], *flags))
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert (
        "can.cdd.weight=0.3 there, 0.5 now" in result.stderr
        and "seed=0 there, 4 now" in result.stderr
    )


def test_runtime_settings_may_change(tiny_run, tmp_path):
    workdir = shutil.copytree(tiny_run[0], tmp_path / "run")  # others read the shared one's results
    tiny.run(workdir, "--config.runtime.report_seconds=3.0", "--config.runtime.devices=2")


def test_evaluating_a_finished_run_gives_its_results(tiny_run):
    workdir, _ = tiny_run
    result = in_process.checked(in_process.process(tiny.words(workdir, "--mode=eval")))
    assert "target accuracy" in result.stdout
    results, evaluated = (
        json.loads((workdir / name).read_text())["stages"] for name in ("results.json", "eval.json")
    )
    assert results == evaluated


@pytest.mark.slow
def test_a_run_begun_on_one_device_ends_on_four(tiny_run, tmp_path):
    """Class-aware batches of 30 rows are padded to 32; parameters agree up to rounding that the
    steps have multiplied.
    """
    workdir = tmp_path / "run"
    process = start(workdir)
    wait_until_it_steps(workdir, process)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    output = tiny.run(workdir, "--config.runtime.devices=4").stdout
    assert "devices: 4 x" in output and "continues at step" in output
    one, four = (
        json.loads((path / "results.json").read_text())["stages"] for path in (tiny_run[0], workdir)
    )
    assert one["can"]["step"] == four["can"]["step"]
    left, right = (tiny.final_state(path, "source_only") for path in (tiny_run[0], workdir))
    for name in (name for name in left if name.startswith("params/")):
        np.testing.assert_allclose(right[name], left[name], rtol=0, atol=5e-3, err_msg=name)
