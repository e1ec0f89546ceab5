"""Runs over seeds and tasks as tables like those of papers: rows are stages, columns tasks, cells
mean ± sample standard deviation.

`results` everywhere: {task: {seed: {stage: result}}}, tasks and seeds in the order of the columns;
what has not been run is absent. A figure is the keys that lead to a number in a result,
("reestimated", "miou").
"""

import csv
import io
import statistics

from dajax.errors import UserError
from dajax.label_free import is_measured

CLASSIFICATION = {
    "accuracy": (("accuracy",), "accuracy in % on the target"),
    "mean-class accuracy": (("mean_class_accuracy",), "mean-class accuracy in % on the target"),
}
REESTIMATED = "the same, BN statistics re-estimated on unlabelled target images"
SEGMENTATION = {
    ("miou",): "mIoU in % on the target, BN statistics as trained",
    ("reestimated", "miou"): REESTIMATED,
    ("aggregated", "miou"): (
        "the same, BN statistics as trained, with spatial aggregation at test time"
    ),
    ("reestimated_aggregated", "miou"): (
        "the same, BN statistics re-estimated, with spatial aggregation at test time"
    ),
}
MISSING = "-"
# Values of config.metric, by task.
METRICS = {"classification": tuple(CLASSIFICATION), "segmentation": ("mIoU",)}


def check_metric(config):
    """Checks that config.metric is one of the task's.

    Raises:
      UserError: naming those that are known.
    """
    known = METRICS[config.task]
    if config.metric not in known:
        raise UserError(f"config.metric='{config.metric}': known: {', '.join(known)}")


def figures_of(config, results):
    """{figure: title} of what was measured; the recipe's own metric comes first and is there in any
    case.
    """
    if config.task == "segmentation":
        titles = dict(SEGMENTATION)
    else:
        first = CLASSIFICATION[config.metric]
        titles = dict([first, *(other for other in CLASSIFICATION.values() if other != first)])
        (key,), _ = first
        titles["reestimated", key] = (
            f"{config.metric} in %, {REESTIMATED.removeprefix('the same, ')}"
        )
    stages = [
        stage for seeds in results.values() for run in seeds.values() for stage in run.values()
    ]
    return {
        figure: title
        for i, (figure, title) in enumerate(titles.items())
        if i == 0 or any(number(stage, figure) is not None for stage in stages)
    }


def number(result, figure):
    """The number that the keys lead to in a stage's result; None where it was not measured."""
    for key in figure:
        result = result.get(key, {})
    return None if result == {} else result


def mean_and_spread(values):
    """ "71.6 ± 3.1": mean and sample standard deviation of those that are not None; how many they
    are where some are.
    """
    found = [value for value in values if value is not None]
    if not found:
        return MISSING
    spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
    remark = f" ({len(found)} of {len(values)})" if len(found) < len(values) else ""
    return f"{statistics.mean(found):.1f}{spread}{remark}"


def rows_of(stages, results):
    """{stage: title}, but for stages that ran and have nothing to measure (pseudo-labels)."""
    ran = {
        name: result
        for seeds in results.values()
        for run in seeds.values()
        for name, result in run.items()
    }
    return {name: name for name in stages if name not in ran or is_measured(ran[name])}


def markdown(results, figure, rows, with_average=True):
    """A table of one figure: seeds side by side where there is one task; tasks, and their average,
    where there are several.

    Args:
      rows: {stage: title}.
      with_average: False where tasks are values of a setting, over which an average says nothing.

    Returns:
      str, lines of Markdown.
    """
    columns = {stage: _values(results, figure, stage) for stage in rows}
    if len(results) == 1:
        ((task, seeds),) = results.items()
        head = [*(f"seed {seed}" for seed in seeds), "mean ± std"]
        body = {
            stage: [*map(_cell, values[task]), mean_and_spread(values[task])]
            for stage, values in columns.items()
        }
    else:
        head = [*results, *(["average"] if with_average else [])]
        body = {
            stage: [
                mean_and_spread(cells)
                for cells in (*values.values(), *([_average(values)] if with_average else []))
            ]
            for stage, values in columns.items()
        }
    lines = [f"| | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    return "\n".join(
        lines + [f"| {rows[stage]} | {' | '.join(cells)} |" for stage, cells in body.items()]
    )


def comma_separated(results, figures, rows, with_average=True):
    """Every table in one: a line for each figure, stage and task (and "average", as in `markdown`),
    unrounded numbers, nothing where one is missing.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    seeds = list(next(iter(results.values())))
    writer.writerow(["figure", "stage", "task", *(f"seed {seed}" for seed in seeds), "mean", "std"])
    for figure in figures:
        for stage in rows:
            values = _values(results, figure, stage)
            if len(results) > 1 and with_average:
                values = values | {"average": _average(values)}
            for task, row in values.items():
                found = [value for value in row if value is not None]
                mean, spread = (
                    (statistics.mean(found) if found else None),
                    (statistics.stdev(found) if len(found) > 1 else None),
                )
                writer.writerow(["/".join(figure), stage, task, *row, mean, spread])
    return text.getvalue()


def _values(results, figure, stage):
    """{task: [a number or None for each seed]}."""
    return {
        task: [number(run.get(stage, {}), figure) for run in seeds.values()]
        for task, seeds in results.items()
    }


def _average(values):
    """Over tasks, seed by seed; None for a seed that lacks a task, whose average would be over
    other tasks.
    """
    return [
        None if None in column else statistics.mean(column)
        for column in zip(*values.values(), strict=True)
    ]


def _cell(value):
    return MISSING if value is None else f"{value:.1f}"
