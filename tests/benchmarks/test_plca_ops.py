"""The benchmark of PLCA's operations still runs, and its contenders still agree; its numbers are
nobody's test.
"""

import subprocess
import sys

import pytest
import tiny


@pytest.mark.slow
def test_quick_run_prints_a_row_for_every_case_and_contender():
    command = [
        sys.executable,
        "benchmarks/plca_ops.py",
        "--quick",
        "--repeats=1",
        "--growth-channels=8",
    ]
    done = subprocess.run(
        command, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, timeout=300
    )
    # also non-zero where two contenders disagree
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in done.stdout.splitlines()
        if line.startswith("|")
    ]
    measured = {tuple(row[:2]) for row in rows}
    assert measured >= {
        (case, f"dajax, {name}")
        for case in ("features", "probabilities", "test_time")
        for name in ("blocked", "dense")
    }
    growth = [row for row in rows if row[0] in ("8x8", "11x11")]
    assert [row[1] for row in growth] == ["64", "121"] and all(
        float(cell) > 0 for row in growth for cell in row[2:]
    )


def test_an_unknown_case_is_refused_by_name():
    command = [sys.executable, "benchmarks/plca_ops.py", "--cases=feature"]
    done = subprocess.run(
        command, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0 and "unknown case 'feature'" in done.stderr
