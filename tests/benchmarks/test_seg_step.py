"""The benchmark of the segmentation step still runs; its numbers are nobody's test."""

import subprocess
import sys

import pytest
import tiny


@pytest.mark.slow
def test_quick_run_prints_a_row_of_dajax():
    command = [sys.executable, "benchmarks/seg_step.py", "--quick", "--repeats=1"]
    done = subprocess.run(
        command, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in done.stdout.splitlines()
        if line.startswith("| 65x97")
    ]
    assert rows and rows[0][1] == "dajax" and float(rows[0][2]) > 0
