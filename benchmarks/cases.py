"""A case of the benchmarks, and its rows of the table."""

import dataclasses
import importlib.util
import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.race import race

# Of every row. A ratio is that to the case's first contender: the median over repeats, each of
# which measures all contenders one after the other, and in brackets the smallest and the largest.
HEADER = ("case", "contender", "ms", "ratio", "CPU", "cores", "MiB", "ratio", "planned", "remark")
PLANNED = "planned_mib"
# {word of a contender's name: (package that it needs, how to get it)}
PACKAGES = {
    "torch": ("torch", "pip install 'torch>=2.0'"),
    "grain": ("grain", "pip install grain"),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """Contenders that do the same work.

    Attributes:
      title: of the rows, after the group's name.
      contenders: {name: prepare}, see race.py; the first is what the others are measured by.
      settings: keyword arguments of every prepare.
      repeats, calls, warm_up, together, at_once: see `race`.
      agree: f(answer of the first, another's) -> (remark, whether that will do), or None.
      unchecked: contenders that compute something else, which `agree` may not refuse.
      remark: f(name, Result) -> further words.
    """

    title: str
    contenders: dict[str, Callable]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    repeats: int = 3
    calls: int = 1
    warm_up: bool = True
    together: bool = True
    at_once: bool = False
    agree: Callable | None = None
    unchecked: tuple[str, ...] = ()
    remark: Callable = lambda name, result: ""


def missing(name):
    """(package, how to get it) that a contender needs and this machine lacks, or None."""
    for word in name.replace(",", " ").split():
        package, remedy = PACKAGES.get(word, (None, None))
        if package and importlib.util.find_spec(package) is None:
            return package, remedy
    return None


def without_missing(case):
    """The case without contenders whose packages this machine lacks."""
    there = {name: prepare for name, prepare in case.contenders.items() if not missing(name)}
    return dataclasses.replace(case, contenders=there)


def measure(group, case, *, is_quick):
    """Runs a case.

    Args:
      group: name, for the table and for messages.
      is_quick: one repeat of one call.

    Returns:
      (rows under HEADER, lists of strings; what is wrong, lines).
    """
    repeats, calls = (1, 1) if is_quick else (case.repeats, case.calls)
    title = f"{group}: {case.title}"
    try:
        results = race(
            case.contenders,
            case.settings,
            repeats=repeats,
            calls=calls,
            warm_up=case.warm_up,
            together=case.together,
            at_once=case.at_once,
        )
    except (EOFError, ConnectionError):  # it ended while it was waited for, or before
        return [], [f"{title}: a contender failed, see above"]
    first, rows, wrong = next(iter(results.values())), [], []
    for name, result in results.items():
        remarks = [case.remark(name, result)]
        if case.agree:
            said, will_do = case.agree(first.answer, result.answer)
            remarks.append(said)
            if not will_do and name not in case.unchecked:
                wrong.append(f"{title}, {name}: {said}")
        if result.compile_seconds >= 0.5:
            remarks.append(f"compiled in {result.compile_seconds:.1f} s")
        rows.append(_row(title, name, first, result, "; ".join(filter(None, remarks))))
    return rows, wrong


def _row(title, name, first, result, remark):
    seconds, cpu = statistics.median(result.seconds), statistics.median(result.cpu_seconds)
    planned = result.answer.get(PLANNED)
    return [
        title,
        name,
        f"{1e3 * seconds:.3g}",
        spread(ratios(first.seconds, result.seconds)),
        f"{cpu / max(statistics.median(first.cpu_seconds), 1e-9):.2f}",
        f"{cpu / seconds:.2f}",
        f"{result.mib:.0f}",
        f"{result.mib / first.mib:.2f}" if first.mib >= 1 else "",
        "" if planned is None else f"{float(planned):.3g}",
        remark,
    ]


def ratios(first, other):
    """Of each repeat, the other's figure over the first's."""
    return [b / a for a, b in zip(first, other, strict=True)]


def spread(values):
    """ "median (smallest-largest)" of ratios; the median alone where they are one."""
    median = f"{statistics.median(values):.2f}"
    return median if len(values) == 1 else f"{median} ({min(values):.2f}-{max(values):.2f})"


def largest_difference(ours, theirs, *, tolerance):
    """An `agree`, its tolerance given: the largest difference of any entry over that array's
    largest entry.
    """
    worst = max(
        float(np.abs(ours[key] - theirs[key]).max() / np.abs(ours[key]).max())
        for key in ours.keys() & theirs.keys() - {PLANNED}
    )
    return f"differs by {worst:.0e}", worst <= tolerance


def run_of(recipe, stage, workdir, cache, *, log_every):
    """Words of `run.py` that train one stage of a recipe.

    Args:
      cache: folder of compiled programs; log_every: steps between two lines of metrics.jsonl.
    """
    return [
        sys.executable,
        "run.py",
        f"--config={recipe}",
        f"--workdir={workdir}",
        f"--config.stages=('{stage}',)",
        f"--config.runtime.log_every={log_every}",
        f"--config.runtime.compilation_cache={cache}",
    ]
