"""`--config=tables/NAME`: the runs of a published table, each once, and the table, with published
and measured figures.

As of a sweep, nothing is remembered but the workdirs of the runs; tables that are given one folder
share what they have in common.
"""

import pathlib

from dajax import console
from dajax.analysis import published_table
from dajax.cli import recipe, sweep, sweep_plan
from dajax.engine import log


def run(config, seeds, overrides, workdir, flags=(), parallel=1):
    """Trains what a table needs and is not finished, prints the table and writes it to `workdir`:
    NAME.md, NAME.csv.

    Args:
      config: of a recipe of configs/tables.
      seeds, overrides, workdir, flags, parallel: as of sweep.run.

    Raises:
      UserError, StopRequested: as there.
    """
    workdir = pathlib.Path(workdir)
    numbers = sweep_plan.numbers_of(seeds, overrides, config.seed)
    runs = plan(config, numbers, overrides, workdir)

    def write():
        return _write(config, numbers, runs, workdir)

    failures = sweep.execute(list(runs.values()), workdir, write, flags, parallel)
    console.say(f"\n{write()}\nwritten to {workdir}: {config.name}.md, {config.name}.csv")
    sweep.report_failures(failures, runs)


def plan(config, seeds, overrides, workdir):
    """{(what --config is, seed): sweep_plan.Run} of a table, in the order of its rows.

    Raises:
      UserError: as sweep_plan.make_run.
    """
    steps, runs = config.table.steps, {}
    for argument in dict.fromkeys(x for cell in config.table.cells for x in cell[2]):
        of_run = recipe.read(argument, overrides)
        words = (*overrides, *_at_most(of_run, steps))
        name = f"{of_run.name}-steps{steps}" if steps else of_run.name
        for seed in seeds:
            folder = workdir / f"{name}-seed{seed}"
            runs[argument, seed] = sweep_plan.make_run(name, seed, argument, words, folder)
    return runs


def _at_most(config, steps):
    """Words for a run whose stages are to take at most so many steps, or loops; () for 0."""
    for name in config.stages if steps else ():
        stage = config[name]
        if stage.get("steps", 0) > steps:
            yield f"--config.{name}.steps={steps}"
        if "max_loops" in stage:
            yield f"--config.{name}.max_loops=1"


def measure(config, seeds, runs):
    """({(row, column): a number or None for each seed} at the last step, the same of the best
    snapshots).
    """
    measured, best = {}, {}
    for name, column, arguments, stages, (under, key) in config.table.cells:
        for seed in seeds:
            found = [_figures(runs[argument, seed], stages, under, key) for argument in arguments]
            for cells, values in zip((measured, best), zip(*found, strict=True), strict=True):
                value = None if None in values else max(values)
                cells.setdefault((name, column), []).append(value)
    return published_table.with_means(measured, config.table.columns), best


def _figures(run, stages, under, key):
    """(a stage's figure at the last step, the largest of its evaluations), each a number or None.

    Args:
      stages: the first that the run has.
    """
    stage = next((x for x in stages if x in run.config.stages), None)
    result = None if stage is None else run.result_of(stage)
    if result is None:
        return None, None
    rows = log.read_metrics(run.workdir / stage / "metrics.jsonl")
    found = [figure(row, under, key) for row in rows if row["kind"] == "evaluation"]
    snapshots = [x for x in found if x is not None]
    return figure(result, under, key), max(snapshots) if len(snapshots) > 1 else None


def figure(result, under, key):
    """A number of a stage's result, or None; see Column and Row of configs/base/tables.py."""
    result = result.get(under, {}) if under else result
    return result.get(key, result.get("miou") if key == "miou_16" else None)


def _write(config, seeds, runs, workdir):
    """Writes both files from what is finished; returns the text of the first."""
    table = config.table
    measured, best = measure(config, seeds, runs)
    content = (table.columns, table.rows, measured, best)
    over = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    few = f"; at most {table.steps} steps a stage" if table.steps else ""
    text = (
        f"{table.title}; {table.source}; {over}{few}\n\n{published_table.markdown(*content)}\n\n"
        + "\n".join(filter(None, (f"{published_table.LEGEND}.", table.note and f"{table.note}.")))
        + "\n"
    )
    sweep.replace(workdir / f"{config.name}.md", text)
    sweep.replace(workdir / f"{config.name}.csv", published_table.comma_separated(*content, seeds))
    return text
