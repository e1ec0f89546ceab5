"""`run.py --seeds=... --tasks=...`: one recipe over seeds and tasks, a subprocess of run.py for
each, and one table of them all.

Nothing about a sweep is remembered but the workdirs of its runs: the same command skips what is
finished and resumes what is not.
"""

import contextlib
import os
import pathlib
import shlex
import signal
import time

from dajax import console
from dajax.analysis import sweep_tables
from dajax.cli import gpus, sweep_plan
from dajax.cli.sweep_pool import Pool
from dajax.engine import json_files
from dajax.engine.folder_lock import FolderLock
from dajax.engine.signals import StopFlag
from dajax.errors import StopRequested, UserError

_POLL_SECONDS = 0.2


def run(name, seeds, tasks, overrides, workdir, default_seed, flags=(), parallel=1):
    """Trains every task with every seed, prints their table and writes it to `workdir`: table.md,
    table.csv, sweep.json.

    Args:
      name: the recipe, "configs/can.py:ablations".
      seeds: "0,1,2", or None for `default_seed`.
      tasks: arguments of the recipe and settings, "source=a,target=b;config.can.cdd.weight=0.1", or
        None; see sweep_tasks.
      overrides: words "--config.key=value" for every run.
      workdir: the sweep's folder; each run has a folder of its own in it.
      flags: further words for every run that are no part of its config, "--debug".
      parallel: how many runs at once.

    Raises:
      UserError: a mistake in the arguments, before anything runs; or at the end, naming the runs
        that failed.
      StopRequested: stopped by a signal; everything is saved.
    """
    workdir = pathlib.Path(workdir)
    runs = sweep_plan.plan(name, seeds, tasks, overrides, workdir, default_seed)

    def write():
        return _write(workdir, name, overrides, tasks, runs)

    failures = execute(runs, workdir, write, flags, parallel)
    console.say(f"\n{write()}\nwritten to {workdir}: table.md, table.csv, sweep.json")
    report_failures(failures, runs)


def execute(runs, folder, after_each=lambda: None, flags=(), parallel=1):
    """Runs what is not finished. One at a time has this process's output; of several at once every
    line has the run's name before it.

    Args:
      folder: made if need be, and locked: two sweeps on the same runs would write over each other.
      after_each: called when a run has ended, however it did.
      flags, parallel: as of `run`.

    Returns:
      {Run: how it failed}.

    Raises:
      UserError: there are fewer GPUs than runs at once.
      StopRequested: stopped by a signal, which was handed on to the runs that were under way.
    """
    failures, stop, waiting = {}, StopFlag(), list(enumerate(runs))
    devices = _devices_for(parallel, runs)
    with (
        stop.listening(),
        _locked(folder, stop) as lock,
        Pool(parallel, stop, devices) as pool,
    ):
        is_cut_short = False
        while waiting or not pool.is_empty():
            if waiting and stop.signal is None and not pool.is_full():
                i, one = waiting.pop(0)
                title = f"run {i + 1}/{len(runs)}: {one.label()}"
                if one.is_finished():
                    console.say(f"{title}: already finished")
                else:
                    console.say(title)
                    pool.start(one, title, flags, lock)
                continue
            if pool.is_empty():
                break  # a signal has come, and nothing is under way any more
            child, status = pool.next_end()
            after_each()
            if status and stop.signal is None:
                failures[child.run] = (
                    f"killed by {signal.Signals(-status).name}"
                    if status < 0
                    else f"exit status {status}"
                )
                console.say(f"{child.title}: failed, {failures[child.run]}")
            elif status:
                is_cut_short = True
            elif parallel > 1:
                console.say(f"{child.title}: finished")
        if waiting or is_cut_short:
            raise StopRequested(stop.signal)
    return failures


def _devices_for(parallel, runs):
    """Values of CUDA_VISIBLE_DEVICES for runs at once, of which each has a GPU to itself; [] where
    there is no GPU, and for a single run, which takes them all.

    Raises:
      UserError: there are not enough of them, or a run asks for several.
    """
    found = gpus.visible() if parallel > 1 else []
    if not found:
        return []
    if parallel > len(found):
        raise UserError(
            f"--parallel={parallel}: each run takes a GPU, and there are {len(found)}; lower it to"
            f" {len(found)}, or set JAX_PLATFORMS=cpu"
        )
    if several := [one for one in runs if one.config.runtime.devices > 1]:
        raise UserError(
            f"--parallel={parallel} gives each run one GPU, and"
            f" config.runtime.devices={several[0].config.runtime.devices}; leave one of them out"
        )
    return found


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


@contextlib.contextmanager
def _locked(folder, stop):
    """Holds the folder's lock, and waits for it where another sweep, or the run that a killed one
    left, has it.
    """
    with FolderLock(folder, stop.check) as lock:
        holder = lock.take()
        if holder is not None:
            console.say(
                f"another sweep is at work in {folder}, or a run that it left ({holder}); waiting"
                " for it to end (Ctrl-C gives up)"
            )
        while holder is not None:
            stop.check()
            time.sleep(_POLL_SECONDS)
            holder = lock.take()
        yield lock


def _write(workdir, name, overrides, tasks, runs):
    """Writes the three files from what is finished; returns the text of table.md."""
    results, config = results_of(runs), runs[0].config
    settings = {one.task: list(one.settings) for one in runs if one.settings}
    stages = dict.fromkeys(stage for one in runs for stage in one.config.stages)
    rows, figures = sweep_tables.rows_of(stages, results), sweep_tables.figures_of(config, results)
    seeds = list(dict.fromkeys(one.seed for one in runs))
    over = (
        f"mean ± sample standard deviation over seeds {', '.join(map(str, seeds))}"
        if len(seeds) > 1
        else f"seed {seeds[0]}"
    )
    parts = [
        f"{title}, at the last step; {over}\n\n"
        + sweep_tables.markdown(results, figure, rows, with_average=not settings)
        for figure, title in figures.items()
    ]
    words = ["run.py", f"--config={name}", *overrides]
    words += [f"--tasks={tasks}"] if settings else []  # columns have but the ends of its keys
    if not rows:
        parts = [
            "nothing was measured: the target has no labels. --mode=predict, with the folder of a"
            " run as --workdir, has what it says of your images"
        ]
    text = f"`{shlex.join(words)}`\n\n" + "\n\n".join(parts) + "\n"
    replace(workdir / "table.md", text)
    replace(
        workdir / "table.csv",
        sweep_tables.comma_separated(results, figures, rows, with_average=not settings),
    )
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
            **({"settings": settings} if settings else {}),
            "metric": config.metric,
            "seeds": seeds,
            "results": raw,
        },
    )
    return text


def _without_confusion(result):
    # the runs' own results.json has it
    return {key: value for key, value in result.items() if key != "confusion"}


def replace(path, text):
    """Writes a text file in one go, whoever reads it meanwhile."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
