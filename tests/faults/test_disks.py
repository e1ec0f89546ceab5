"""A disk that is full, files that may not grow, files that come back damaged: a line that says what
to do, and the same command again ends with the same bits.
"""

import os
import shutil

import forked_runs
import pytest
import same_outcome
from kills import toy_words


def ends_in_one_line(outcome):
    """The error that a run has ended with."""
    assert outcome.status == 1 and "Traceback" not in outcome.output, outcome.output
    line = outcome.output.strip().splitlines()[-1]
    assert line.startswith("error: "), outcome.output
    return line


# Bytes of the longest file: none; config.json; files of events; a checkpoint's largest.
@pytest.mark.parametrize(
    "limits", [(0, 1200), pytest.param((0, 100, 600, 2000, 3000, 4500), marks=pytest.mark.slow)]
)
def test_files_that_may_not_grow_end_a_run_with_a_line_and_lose_nothing(toy, limits):
    workdir = toy.folder / f"limits{len(limits)}"
    for limit in limits:
        line = ends_in_one_line(toy.run(workdir, limit=limit))
        assert "File too large" in line and str(workdir) in line, line
        assert limit or os.listdir(workdir) == [], "nothing half written is left"
    toy.run(workdir)
    same_outcome.assert_same(toy.straight, workdir)


@pytest.mark.slow
@pytest.mark.parametrize("kib", [4, 12, 24, 48, 4200, 4400])
def test_a_disk_that_fills_up_ends_a_run_with_a_line_and_loses_nothing(toy, tmp_path, kib):
    """A small disk of its own, made larger before the second call."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with forked_runs.Server(
        "toy", prefix=("unshare", "--user", "--map-root-user", "--mount")
    ) as here:
        here.shell(f"mount -t tmpfs -o size={kib}k none {disk}")
        words = toy_words(disk / "run")
        line = ends_in_one_line(here.run(words, workdir=disk / "run"))
        assert "No space left" in line or "free some space" in line, line
        here.shell(f"mount -o remount,size=100m {disk}")
        assert here.run(words, workdir=disk / "run").status == 0
        here.shell(f"cp -r {disk}/run {tmp_path}/out")
    same_outcome.assert_same(toy.straight, tmp_path / "out")


@pytest.fixture(scope="module")
def killed(toy):
    """A workdir whose run was killed with two checkpoints of its second stage."""
    workdir = toy.folder / "killed_once"
    outcome = toy.run(workdir, kill=("loop", "evaluation", "evaluation", 4, 0.0))
    assert outcome.status == -9
    assert sum(x.name.isdigit() for x in (workdir / "loop" / "checkpoints").iterdir()) >= 2
    return workdir


def largest(folder):
    return max(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda x: x.stat().st_size
    )


DAMAGE = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "emptied": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize(
    "damage",
    [name if name == "zeroed" else pytest.param(name, marks=pytest.mark.slow) for name in DAMAGE],
)
def test_a_damaged_newest_checkpoint_is_said_and_costs_steps_alone(toy, killed, damage):
    workdir = shutil.copytree(killed, toy.folder / damage)
    saved = (workdir / "loop" / "checkpoints").iterdir()  # one may be unfinished, by its name
    newest = max((x for x in saved if x.name.isdigit()), key=lambda x: int(x.name))
    DAMAGE[damage](largest(newest))
    # what the power's failure has cut, too
    with open(workdir / "first" / "result.json", "r+b") as file:
        file.truncate(20)
    said = toy.run(workdir).output
    assert f"the checkpoint of step {newest.name} is damaged" in said
    assert "first/result.json: is damaged" in said
    shutil.rmtree(workdir / "loop" / "checkpoints" / f"{newest.name}.damaged")
    same_outcome.assert_same(toy.straight, workdir)


def test_a_copy_of_a_run_under_way_goes_on_as_a_run_of_its_own(toy, killed):
    """With the lock of the other, which a kill has left there."""
    assert (killed / ".lock").exists()
    workdir = shutil.copytree(killed, toy.folder / "copy")
    outcome = toy.run(workdir)
    assert "sign of life" not in outcome.output
    same_outcome.assert_same(toy.straight, workdir)
