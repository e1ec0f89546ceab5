"""The benchmark of streamed prototypes and thresholds still runs; its figures are nobody's test."""

import subprocess
import sys

import pytest
import tiny


@pytest.mark.slow
def test_quick_run_prints_a_line_for_every_case():
    command = [sys.executable, "benchmarks/streaming.py", "--quick"]
    done = subprocess.run(
        command, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [
        line.strip("| ").split(" | ")
        for line in done.stdout.splitlines()
        if line.startswith(("| prototypes", "| thresholds"))
    ]
    assert len(rows) == 4 and all(len(row) == 4 and float(row[1]) > 0 for row in rows), done.stdout
