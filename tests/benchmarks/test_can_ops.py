"""The benchmark of CAN's operations still runs, and what it times still agrees with numpy; its
numbers are nobody's test.
"""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_quick_run_prints_a_row_for_every_case_and_contender():
    root = os.path.join(os.path.dirname(__file__), "..", "..")
    command = [sys.executable, "benchmarks/can_ops.py", "--quick", "--repeats=1"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    # also non-zero where dajax and numpy disagree
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in done.stdout.splitlines()
        if line.startswith("|")
    ]
    measured = {(row[0], row[1].split(" ")[0]) for row in rows[2:]}
    kmeans = {
        (case, name)
        for case in ("kmeans_visda", "kmeans_domainnet")
        for name in ("dajax", "numpy", "scikit-learn")
    }
    assert measured == kmeans | {("cdd", "dajax"), ("cdd", "numpy")}
    assert all(len(row) == len(rows[0]) and float(row[2]) > 0 for row in rows[2:])


def test_an_unknown_case_is_refused_by_name():
    root = os.path.join(os.path.dirname(__file__), "..", "..")
    command = [sys.executable, "benchmarks/can_ops.py", "--cases=kmean"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "unknown case 'kmean'" in done.stderr
