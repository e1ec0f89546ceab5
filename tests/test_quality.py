"""The promises about accuracy, at full length. Minutes each: `python -m pytest tests -m slow`."""

import json
import subprocess
import sys

import pytest
import tiny

pytestmark = pytest.mark.slow


def run(workdir, *flags):
    subprocess.run(
        [sys.executable, "run.py", f"--workdir={workdir}", *flags],
        cwd=tiny.ROOT,
        env=tiny.environment(),
        check=True,
    )
    return json.loads((workdir / "results.json").read_text())["stages"]


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_the_main_command_adapts_type_to_handwriting(tmp_path, seed):
    stages = run(tmp_path / "run", "--config=configs/can.py", f"--config.seed={seed}")
    assert stages["can"]["accuracy"] >= 93.0
    assert stages["can"]["accuracy"] >= stages["source_only"]["accuracy"] + 15.0


def test_real_photos_run_to_their_table(shared_data, tmp_path):
    root = shared_data / "office_caltech10"
    stages = run(
        tmp_path / "run",
        f"--config=configs/can.py:folder,root={root},source=amazon,target=webcam,size=64",
        "--config.can.max_loops=2",
    )
    assert set(stages) == {"source_only", "can"} and len(stages["can"]["per_class"]) == 10
    assert stages["can"]["accuracy"] > 10.0, "better than chance among ten classes"
