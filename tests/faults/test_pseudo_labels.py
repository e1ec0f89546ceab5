"""Pseudo-labels that a fault has met: made again, with the same bits, before anything trains on
them.
"""

import json
import shutil

import pytest
import same_outcome
import tiny_seg
from kills import SPCL, Subject

pytestmark = pytest.mark.slow
MADE = ("self_training", "", "mkdir", 1, 0.0)  # the labels are there, and nobody has used them


@pytest.fixture(scope="module")
def spcl(flat_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spcl")
    words = lambda workdir: tiny_seg.words(workdir, folder / "scenes", *SPCL, recipe="spcl")
    return Subject(flat_server, folder, words, {})


def test_damaged_after_their_stage_has_ended_they_are_made_again(spcl):
    killed = spcl.folder / "killed"
    assert spcl.run(killed, kill=MADE).status == -9
    labels = killed / "warm_up_labels" / "pseudo_labels"
    damages = {
        "cut": lambda path: path.write_bytes(path.read_bytes()[:100]),
        "gone": lambda path: path.unlink(),
    }
    for name, damage in damages.items():
        workdir = shutil.copytree(killed, spcl.folder / name)
        damage(sorted((workdir / labels.relative_to(killed) / "labels").iterdir())[2])
        said = spcl.run(workdir).output
        assert "warm_up_labels makes its pseudo-labels again" in said
        same_outcome.assert_same(spcl.straight, workdir)


def test_a_run_killed_between_labels_and_checkpoint_goes_on_on_other_devices(spcl):
    """Thresholds of other devices differ in their last bits, so the labels count as others."""
    workdir = spcl.folder / "devices"
    kill = ("warm_up_labels", "refresh", "metrics", 1, 0.0)
    assert spcl.run(workdir, kill=kill).status == -9
    record = workdir / "warm_up_labels" / "pseudo_labels" / "pseudo_labels.json"
    content = json.loads(record.read_text())
    content["origin"]["thresholds"][0] += 1e-7
    record.write_text(json.dumps(content))
    spcl.run(workdir)
    same_outcome.assert_same(spcl.straight, workdir)
