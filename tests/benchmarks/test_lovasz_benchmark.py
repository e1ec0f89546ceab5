"""The benchmark of Lovász-softmax still runs, and its contenders compute the same; its times are
nobody's test.
"""

import subprocess
import sys

import pytest
import tiny


@pytest.mark.slow
def test_quick_run_prints_contenders_that_agree():
    command = [sys.executable, "benchmarks/lovasz.py", "--quick", "--repeats=1"]
    done = subprocess.run(
        command, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in done.stdout.splitlines()
        if "64x64 |" in line
    ]
    assert [row[1] for row in rows[:2]] == ["dajax", "argsort"] and {row[0] for row in rows} == {
        "given probabilities, 64x64",
        "from logits, 64x64",
    }
    losses = [float(row[-1].split()[1].rstrip(",")) for row in rows]
    assert max(losses) - min(losses) < 1e-5 and min(float(row[2]) for row in rows) > 0, rows
