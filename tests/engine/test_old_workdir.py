"""A workdir that the version before has written (commit db17107) still loads, and its run goes on:
the default recipe in small, stopped by a signal after 3 of CAN's 18 steps.
"""

import json
import zipfile

import in_process
import numpy as np
import pytest
import tiny

import dajax
from dajax.engine import environment

# What that version was called with, and defaults that have changed since; the configuration
# in the workdir says the same.
FLAGS = (
    "--config=configs/can.py",
    "--config.data.per_class=6",
    "--config.model.widths=(4, 8, 16)",
    "--config.source_only.steps=12",
    "--config.source_only.batch_size=16",
    "--config.can.batch_size=16",
    "--config.can.max_loops=3",
    "--config.can.class_aware.update_fraction=0.1",
    "--config.can.clustering.batch_size=256",
    # defaults of that version
    "--config.can.class_aware.max_share=1",
    "--config.can.teacher.momentum=0",
    "--config.can.predict_with=student",
    "--config.can.clustering.drop_contradicted=False",
    "--config.can.clustering.min_agreement=0",
    "--config.runtime.log_every=2",
    "--config.runtime.checkpoint_every=5",
)


@pytest.fixture
def workdir(tmp_path):
    with zipfile.ZipFile(tiny.ROOT / "tests" / "golden" / "workdir_of_db17107.zip") as stored:
        stored.extractall(tmp_path / "run")
    # It goes on with the flags of XLA that it was begun with only; here those of this session.
    path = tmp_path / "run" / "environment.json"
    path.write_text(
        json.dumps(
            json.loads(path.read_text()) | {"XLA_FLAGS": environment.numerics()["XLA_FLAGS"]}
        )
    )
    return tmp_path / "run"


def test_a_stored_workdir_loads(workdir):
    finished = dajax.load(workdir, "source_only")
    begun = dajax.load(workdir, "can")
    assert (finished.step, begun.step) == (12, 3) and begun.results is None
    images = np.zeros((2, 32, 32, 1), np.uint8)
    for trained in (finished, begun):
        assert trained.predict(images).shape == (2,)


@pytest.mark.slow  # a minute, nearly all to compile; old keys: test_old_config.py
def test_a_stored_run_goes_on_where_it_stopped(workdir):
    cache = f"--config.runtime.compilation_cache={tiny.CACHE}"
    result = in_process.checked(in_process.process([*FLAGS, f"--workdir={workdir}", cache]))
    assert "source_only: already finished" in result.stdout, "nothing is trained twice"
    lines = (workdir / "can" / "metrics.jsonl").read_text().splitlines()
    steps = [row["step"] for row in map(json.loads, lines) if row["kind"] == "train"]
    assert steps == sorted(set(steps)) and steps[0] == 2 and steps[-1] >= 17
    assert set(json.loads((workdir / "results.json").read_text())["stages"]) == {
        "source_only",
        "can",
    }
