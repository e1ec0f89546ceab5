"""SPCL's and BiCL's recipes as a person runs them: pseudo-labels between stages, killed on the way,
read back and trained on.
"""

import json
import signal
import subprocess
import time

import numpy as np
import pytest
import tiny
from tiny_seg import command, run

SPCL = (
    "--config.stages=('warm_up','warm_up_labels','spcl','spcl_labels','self_training')",
    "--config.warm_up.init_from=",
    "--config.warm_up.steps=3",
    "--config.spcl.steps=4",
    "--config.self_training.steps=3",
    "--config.warm_up.adversarial.width=8",
    "--config.spcl.class_balanced=True",
    "--config.warm_up.class_balanced=True",
    "--config.runtime.checkpoint_every=2",
    "--config.evaluation.reestimate_batches=0",
    "--config.evaluation.num_pictures=0",
)
BICL = (
    "--config.stages=('source_only','labels_0','bicl_0','labels_1','bicl_1')",
    "--config.source_only.steps=3",
    "--config.bicl_0.steps=2",
    "--config.bicl_1.steps=2",
    "--config.bicl_1.dynamic.share=0.343",
    "--config.evaluation.reestimate_batches=0",
    "--config.evaluation.num_pictures=0",
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


def kill_when(condition, *args, **kwargs):
    """Starts a run and kills it as soon as condition() holds."""
    silent = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen(
        command(*args, **kwargs), cwd=tiny.ROOT, env=tiny.environment(), **silent
    )
    while not condition() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_spcl_killed_in_three_places_ends_with_the_same_bits(scenes, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    output = run(straight, scenes, *SPCL, recipe="spcl").stdout
    assert "density_evaluation_only" in output and "classes_with_prototype" in output
    marker = killed / "warm_up_labels" / "pseudo_labels" / "pseudo_labels.json"
    # between writing the labels and training on them
    kill_when(marker.exists, killed, scenes, *SPCL, recipe="spcl")
    kill_when(
        lambda: list((killed / "spcl" / "checkpoints").glob("[0-9]*")),
        killed,
        scenes,
        *SPCL,
        recipe="spcl",
    )
    kill_when(
        lambda: (killed / "spcl_labels" / ".pseudo_labels.unfinished").exists(),
        killed,
        scenes,
        *SPCL,
        recipe="spcl",
    )
    run(killed, scenes, *SPCL, recipe="spcl")
    for stage in ("warm_up", "spcl", "self_training"):
        left, right = tiny.final_state(straight, stage), tiny.final_state(killed, stage)
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=f"{stage} {name}")
    stages = json.loads((killed / "results.json").read_text())["stages"]
    assert stages == json.loads((straight / "results.json").read_text())["stages"]
    assert set(stages["warm_up_labels"]) == {"step"}, (
        "nothing was trained there, so nothing is measured"
    )


@pytest.mark.slow
def test_two_rounds_of_bicl_run_to_their_table(scenes, tmp_path):
    output = run(tmp_path, scenes, *BICL, recipe="bicl").stdout
    assert "density_evaluation_only" in output
    header = next(line for line in output.splitlines() if line.startswith("class "))
    assert header.split() == [
        "class",
        "source_only",
        "bicl_0",
        "bicl_1",
    ], "stages that only write labels are not in the table"
