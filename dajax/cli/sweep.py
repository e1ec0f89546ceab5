"""`run.py --seeds=... --tasks=...`: one recipe over seeds and tasks, a subprocess of run.py for
each, and one table of them all.

Nothing about a sweep is remembered but the workdirs of its runs: the same command skips what is
finished and resumes what is not.
"""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

from dajax import console
from dajax.analysis import sweep_tables
from dajax.cli import sweep_plan
from dajax.engine import json_files
from dajax.engine.signals import StopFlag
from dajax.errors import StopRequested, UserError

_RUN_PY = pathlib.Path(__file__).resolve().parents[2] / "run.py"
# How a run of its own is started: run.py finds dajax beside itself, whatever the working directory.
RUN = [sys.executable, *([str(_RUN_PY)] if _RUN_PY.exists() else ["-m", "dajax"])]
_POLL_SECONDS = 0.2


def run(name, seeds, tasks, overrides, workdir, default_seed, flags=()):
    """Trains every task with every seed, prints their table and writes it to `workdir`: table.md,
    table.csv, sweep.json.

    Args:
      name: the recipe, "configs/can.py:ablations".
      seeds: "0,1,2", or None for `default_seed`.
      tasks: arguments of the recipe, "source=a,target=b;source=b,target=a", or None.
      overrides: words "--config.key=value" for every run.
      workdir: the sweep's folder; each run has a folder of its own in it.
      flags: further words for every run that are no part of its config, "--debug".

    Raises:
      UserError: a mistake in the arguments, before anything runs; or at the end, naming the runs
        that failed.
      StopRequested: stopped by a signal; everything is saved.
    """
    workdir = pathlib.Path(workdir)
    runs = sweep_plan.plan(name, seeds, tasks, overrides, workdir, default_seed)
    failures = execute(runs, workdir, lambda: _write(workdir, name, overrides, runs), flags)
    console.say(
        f"\n{_write(workdir, name, overrides, runs)}\nwritten to {workdir}: table.md, table.csv,"
        " sweep.json"
    )
    report_failures(failures, runs)


def execute(runs, folder, after_each=lambda: None, flags=()):
    """Runs what is not finished, one after the other; their output is streamed through.

    Args:
      folder: made if need be, and locked: two sweeps on the same runs would write over each other.
      after_each: called when a run has ended, however it did.
      flags: as of `run`.

    Returns:
      {Run: how it failed}.

    Raises:
      StopRequested: stopped by a signal, which was handed on to the run that was under way.
    """
    failures, stop = {}, StopFlag()
    with stop.listening(), _locked(folder, stop) as lock:
        for i, one in enumerate(runs):
            title = f"run {i + 1}/{len(runs)}: {one.label()}"
            if one.is_finished():
                console.say(f"{title}: already finished")
                continue
            stop.check()
            console.say(title)
            status = _train(one, lock, stop, flags)
            after_each()
            if status and stop.signal is None:
                failures[one] = (
                    f"killed by {signal.Signals(-status).name}"
                    if status < 0
                    else f"exit status {status}"
                )
                console.say(f"{title}: failed, {failures[one]}")
            elif status:
                raise StopRequested(stop.signal)
    return failures


def results_of(runs):
    """{task: {seed: {stage: result}}}: of every stage that is finished, also where the run as a
    whole is not; without damaged ones.
    """
    results = {}
    for one in runs:
        found = {stage: one.result_of(stage) for stage in one.config.stages}
        results.setdefault(one.task, {})[one.seed] = {
            stage: result for stage, result in found.items() if result is not None
        }
    return results


def report_failures(failures, runs):
    """Raises UserError, one line, where there are any."""
    if failures:
        named = "; ".join(f"{one.label()} ({how})" for one, how in failures.items())
        raise UserError(
            f"{len(failures)} of {len(runs)} runs failed: {named}; what they said is above; the"
            " same command tries them again"
        )


def _train(one, lock, stop, flags):
    """Exit status of one run; a signal that stops the sweep is handed on to it once, and a second
    Ctrl-C too.
    """
    command = [*RUN, f"--config={one.recipe}", *one.overrides, f"--workdir={one.workdir}", *flags]
    # A process group of its own: Ctrl-C reaches it through us only, since two of them would stop it
    # at once, nothing saved. The lock is inherited, so that it holds for as long as the run lives.
    child = subprocess.Popen(
        command, process_group=0, pass_fds=[lock.fileno()], preexec_fn=_stop_with_parent
    )
    is_told = False
    try:
        while True:
            try:
                return child.wait(timeout=_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if stop.signal is not None and not is_told:
                    child.send_signal(stop.signal)
                    is_told = True
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            child.wait()


def _stop_with_parent():
    """A sweep that is killed outright takes its run along (Linux); elsewhere the run goes on, and
    the lock makes the next sweep wait.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG


@contextlib.contextmanager
def _locked(folder, stop):
    """Holds `folder`/.lock, and waits for it where another sweep, or the run that a killed one
    left, has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")
    except OSError as error:
        raise UserError(
            f"--workdir={folder}: cannot be written to ({error.strerror}); choose another --workdir"
        ) from error
    with lock:
        if not _try_lock(lock):
            console.say(
                f"another sweep is at work in {folder}, or a run that it left; waiting for it to"
                " end (Ctrl-C gives up)"
            )
            while not _try_lock(lock):
                stop.check()
                time.sleep(_POLL_SECONDS)
        yield lock


def _try_lock(lock):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(workdir, name, overrides, runs):
    """Writes the three files from what is finished; returns the text of table.md."""
    results, config = results_of(runs), runs[0].config
    stages = dict.fromkeys(stage for one in runs for stage in one.config.stages)
    rows, figures = sweep_tables.rows_of(stages, results), sweep_tables.figures_of(config, results)
    seeds = list(dict.fromkeys(one.seed for one in runs))
    over = (
        f"mean ± sample standard deviation over seeds {', '.join(map(str, seeds))}"
        if len(seeds) > 1
        else f"seed {seeds[0]}"
    )
    parts = [
        f"{title}, at the last step; {over}\n\n{sweep_tables.markdown(results, figure, rows)}"
        for figure, title in figures.items()
    ]
    text = (
        f"`{shlex.join(['run.py', f'--config={name}', *overrides])}`\n\n"
        + "\n\n".join(parts)
        + "\n"
    )
    _replace(workdir / "table.md", text)
    _replace(workdir / "table.csv", sweep_tables.comma_separated(results, figures, rows))
    raw = {
        task: {
            seed: {stage: _without_confusion(result) for stage, result in run.items()}
            for seed, run in of_task.items()
        }
        for task, of_task in results.items()
    }
    recipes = {one.task: one.recipe for one in runs}
    json_files.write(
        workdir / "sweep.json",
        {
            "recipe": name,
            "recipes": recipes,
            "overrides": list(overrides),
            "metric": config.metric,
            "seeds": seeds,
            "results": raw,
        },
    )
    return text


def _without_confusion(result):
    # the runs' own results.json has it
    return {key: value for key, value in result.items() if key != "confusion"}


def _replace(path, text):
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
