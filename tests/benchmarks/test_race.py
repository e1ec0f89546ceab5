"""How contenders are measured: in processes of their own, together or one after another, with their
memory and their processor time.
"""

import functools
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks.cases import Case, measure, spread, without_missing
from benchmarks.race import Prepared, race

ON_LINUX = pytest.mark.skipif(not pathlib.Path("/proc").exists(), reason="asks Linux's /proc")


def count_others(folder):
    """A contender that notes how many contenders have their data in memory while it runs."""
    mark = pathlib.Path(folder, str(os.getpid()))
    mark.touch()

    def run():
        others = [name for name in os.listdir(folder) if pathlib.Path("/proc", name).exists()]
        return {"alive": len(others)}

    return Prepared(lambda: run)


@ON_LINUX
@pytest.mark.parametrize("together", [True, False])
def test_contenders_that_do_not_fit_together_run_one_after_another(tmp_path, together):
    names = ("a", "b", "c")
    results = race(
        {name: count_others for name in names},
        {"folder": str(tmp_path)},
        repeats=2,
        calls=3,
        together=together,
    )
    assert [int(results[name].answer["alive"]) for name in names] == [3 if together else 1] * 3
    assert all(
        len(results[name].seconds) == 2 and len(results[name].cpu_seconds) == 2 for name in names
    )


def meet(folder, count):
    """A contender whose preparation ends once all have begun theirs."""
    pathlib.Path(folder, str(os.getpid())).touch()
    deadline = time.monotonic() + 60
    while len(os.listdir(folder)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError("the others have not begun")
        time.sleep(0.01)
    return Prepared(lambda: dict)


def test_contenders_may_compile_at_once(tmp_path):
    names = ("a", "b", "c")
    settings = {"folder": str(tmp_path), "count": len(names)}
    results = race(dict.fromkeys(names, meet), settings, repeats=1, at_once=True)
    assert tuple(results) == names
    with pytest.raises(ValueError, match="cannot compile at once"):
        race({"a": meet}, settings, repeats=1, together=False, at_once=True)


def hold(mib):
    """A contender that takes memory in a call, and has taken and given back more before."""
    np.ones((64, 2**17))

    def run():
        return {"sum": np.ones((mib, 2**17)).sum()}  # 1 MiB a row

    return Prepared(lambda: run)


@ON_LINUX
def test_memory_is_that_of_the_calls_and_not_of_what_went_before():
    contenders = {name: functools.partial(hold, mib) for name, mib in (("a", 40), ("b", 10))}
    results = race(contenders, {}, repeats=1)
    assert abs(results["a"].mib - 40) < 8 and abs(results["b"].mib - 10) < 8


BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"


def child(ends):
    """A contender whose work is that of a process beside it, which ends within the call or not."""

    def run():
        work = subprocess.Popen(
            [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        work.stdout.readline()
        if ends:
            work.communicate(b"\n")
        return {}

    return Prepared(lambda: run, is_command=True)


@ON_LINUX
@pytest.mark.parametrize("ends", [True, False])
def test_processor_time_is_that_of_child_processes_too(ends):
    result = race({"a": functools.partial(child, ends)}, {}, repeats=1, warm_up=False)["a"]
    assert result.cpu_seconds[0] > 0.25
    assert result.mib > 1 or not ends


def answer(value):
    """A contender that knows something."""
    return Prepared(lambda: lambda: {"value": value})


def fail():
    """A contender that does not come to a result."""
    raise RuntimeError("as the test wants it")


def same(first, other):
    """An `agree`."""
    return f"{float(other['value']):g}", bool(first["value"] == other["value"])


def test_rows_are_ratios_to_the_first_and_a_disagreement_is_said():
    contenders = {name: functools.partial(answer, value) for name, value in (("a", 1), ("b", 2))}
    rows, wrong = measure("group", Case("case", contenders, agree=same), is_quick=False)
    assert [row[:2] for row in rows] == [["group: case", "a"], ["group: case", "b"]]
    assert rows[0][3] == "1.00 (1.00-1.00)" and rows[1][-1] == "2"
    assert wrong == ["group: case, b: 2"]
    case = Case("case", contenders, agree=same, unchecked=("b",))
    assert measure("group", case, is_quick=True)[1] == []


def test_a_contender_that_fails_ends_its_case_alone(capfd):
    case = Case("case", {"a": functools.partial(answer, 1), "b": fail})
    rows, wrong = measure("group", case, is_quick=True)
    assert rows == [] and wrong == ["group: case: a contender failed, see above"]
    assert "as the test wants it" in capfd.readouterr().err


def test_a_ratio_is_the_median_and_its_range():
    assert spread([1.0, 3.0, 1.5]) == "1.50 (1.00-3.00)" and spread([2.0]) == "2.00"


def test_contenders_whose_package_is_absent_are_left_out(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else 1)
    case = Case("case", {"PIL + torch": fail, "torch": fail, "dajax": fail})
    assert list(without_missing(case).contenders) == ["dajax"]
