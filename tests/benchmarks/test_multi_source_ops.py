"""The benchmark of adaptation from several sources still runs, and what it times still agrees with
numpy; its numbers are nobody's test.
"""

import subprocess
import sys

import pytest
import tiny


@pytest.mark.slow
def test_quick_run_prints_a_row_for_every_case_and_contender():
    command = [sys.executable, "benchmarks/multi_source_ops.py", "--quick"]
    done = subprocess.run(
        command, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, timeout=600
    )
    # also non-zero where dajax and numpy disagree
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in done.stdout.splitlines()
        if line.startswith("|")
    ]
    rows = [row for row in lines[2:] if len(row) == len(lines[0])]
    measured = {(row[0].split(",")[0], row[1].split(" ")[0]) for row in rows}
    both = {
        (case, name)
        for case in ("cdd_domainnet", "mmd", "kmeans", "ensemble")
        for name in ("dajax", "numpy")
    }
    assert measured == both | {("kmeans", "scikit-learn"), ("refresh", "dajax")}
    assert len(rows) == 2 * (1 + 5 + 1 + 2) + 1 + 1 and all(float(row[2]) > 0 for row in rows)
    parts = {row[0] for row in lines if len(row) == 4}
    assert parts >= {"target_features", "source_centers", "cluster", "ensemble_labels"}


def test_an_unknown_case_is_refused_by_name():
    command = [sys.executable, "benchmarks/multi_source_ops.py", "--cases=ensembles"]
    done = subprocess.run(
        command, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0 and "unknown case 'ensembles'" in done.stderr
