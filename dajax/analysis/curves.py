"""The lines of metrics.jsonl as series to draw."""

import math

import numpy as np

MARK = "_evaluation_only"  # of figures that are measured with target labels, for the log alone


def series(rows, kind, name):
    """(steps, values), lists, of one figure in the lines of one kind that have it as a number.

    Args:
      rows: list of the objects of a metrics.jsonl.
      kind: "train", "refresh" or "evaluation".
    """
    pairs = [
        (row["step"], row[name]) for row in rows if row["kind"] == kind and is_number(row.get(name))
    ]
    return [step for step, _ in pairs], [value for _, value in pairs]


def names(rows, kind):
    """Names of the figures in lines of one kind that are numbers, in the order of their
    appearance.
    """
    found = {}
    for row in rows:
        if row["kind"] == kind:
            found |= {key: None for key, value in row.items() if is_number(value)}
    return [name for name in found if name != "step"]


def tables(rows, kind):
    """{name: (steps, [values of each class])} of the figures that are a list of numbers, or None,
    at each line.
    """
    found = {}
    for row in rows:
        for key, value in row.items() if row["kind"] == kind else ():
            if isinstance(value, list) and value and all(x is None or is_number(x) for x in value):
                steps, columns = found.setdefault(key, ([], []))
                if not columns or len(columns[0]) == len(value):
                    steps.append(row["step"])
                    columns.append(value)
    return found


def is_number(value):
    """Whether a value of a line can be drawn."""
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def smoothed(values, width):
    """The mean of the last `width` values at each: float64 [n], shorter at the beginning."""
    sums = np.cumsum(np.concatenate([[0.0], np.asarray(values, np.float64)]))
    first = np.maximum(np.arange(len(values)) + 1 - width, 0)
    ends = np.arange(len(values)) + 1
    return (sums[ends] - sums[first]) / (ends - first)
