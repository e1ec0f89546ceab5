"""The benchmarks' harness: contenders in processes of their own, together or one after another."""

import os
import pathlib

import pytest

from benchmarks.harness import Prepared, race


def count_others(folder):
    """A contender that notes how many contenders have their data in memory while it runs."""
    mark = pathlib.Path(folder, str(os.getpid()))
    mark.touch()

    def run():
        others = [name for name in os.listdir(folder) if pathlib.Path("/proc", name).exists()]
        return {"alive": len(others)}

    return Prepared(lambda: run)


@pytest.mark.skipif(not pathlib.Path("/proc").exists(), reason="asks Linux which processes live")
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
