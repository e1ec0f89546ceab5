"""The benchmark of the segmentation input still runs; its numbers are nobody's test."""

import subprocess
import sys

import pytest
import tiny


@pytest.mark.slow
def test_quick_run_prints_a_row_of_every_contender():
    command = [sys.executable, "benchmarks/seg_input.py", "--quick", "--repeats=1"]
    done = subprocess.run(
        command, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [
        line.split("|")[1:4]
        for line in done.stdout.splitlines()
        if line.startswith(("| dajax", "| decode"))
    ]
    assert [row[0].strip() for row in rows] == ["dajax", "decode", "decode, memory kept"] and all(
        float(cell) > 0 for row in rows for cell in row[1:]
    )
