"""What disks and people do to checkpoints: no damaged one is ever taken for a whole one, and the
older one is taken instead.
"""

import os
import random
import shutil
import subprocess
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from checkpoint_states import assert_same, make_state

from dajax.engine import checkpoint
from dajax.engine.checkpoint import Checkpoints
from dajax.engine.checksums import NAME
from dajax.errors import UserError

OLDER, NEWER = 3, 7


def written(directory, width):
    """Two checkpoints of a state with `width` rows of weights; {step: TrainState}."""
    rng, states = np.random.default_rng(0), {}
    with Checkpoints(directory, keep=2) as checkpoints:
        for step in (OLDER, NEWER):
            weights = {
                f"layer{i}": jnp.asarray(rng.normal(size=(width, 64)), jnp.float32)
                for i in range(4)
            }
            states[step] = make_state(step, float(step)).replace(params={"classifier": weights})
            checkpoints.save(states[step], {"metrics_bytes": 10 * step})
            checkpoints.wait()
    return states


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    directory = tmp_path_factory.mktemp("small")
    return directory, written(directory, 30)


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def file_of(folder, kind):
    """The file that holds most of the arrays, or the one of that name."""
    if kind == "data":
        return max(files(folder), key=lambda path: path.stat().st_size)
    return (
        folder
        / {
            "index": "state/manifest.ocdbt",
            "tree": "state/_METADATA",
            "meta": "meta/metadata",
            "checksums": NAME,
        }[kind]
    )


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def empty(path):
    path.write_bytes(b"")


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"garbage")


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


# 12 kinds of damage, by what is damaged and how.
KINDS = (
    ("data", truncate),
    ("data", zero),
    ("data", empty),
    ("data", remove),
    ("index", truncate),
    ("tree", zero),
    ("meta", empty),
    ("meta", remove),
    ("checksums", truncate),
    ("checksums", remove),
    ("tree", lengthen),
    ("folder", remove),
)
EVERY_PAIR = [
    (what, how)
    for what in ("data", "index", "tree", "meta", "checksums")
    for how in (truncate, zero, empty, lengthen, remove)
]


def spoil(folder, what, how):
    """Damages a checkpoint in place; the name that a message should hold."""
    if what == "folder":
        remove(folder / "state")
        return "state/"
    path = file_of(folder, what)
    how(path)
    return path.relative_to(folder).as_posix()


def assert_the_older_is_read(directory, states, capsys):
    """... and nothing in the folder is touched. Returns what was said."""
    before = sorted(path.name for path in directory.iterdir())
    capsys.readouterr()
    tree, meta = checkpoint.read(directory)
    assert_same(tree["params"], states[OLDER].params)
    assert meta == {"metrics_bytes": 10 * OLDER} and int(tree["step"]) == OLDER
    assert sorted(path.name for path in directory.iterdir()) == before, "reading changes no workdir"
    said = capsys.readouterr().out
    assert (
        said.count("\n") == 1
        and f"the checkpoint of step {NEWER} is damaged" in said
        and f"step {OLDER} is taken" in said
    ), said
    return said


def every_kind_falls_back(directory, states, kinds, tmp_path, capsys):
    for what, how in kinds:
        copy = tmp_path / f"{what}_{how.__name__}"
        shutil.copytree(directory, copy)
        name = spoil(copy / str(NEWER), what, how)
        said = assert_the_older_is_read(copy, states, capsys)
        assert name in said, said
        with Checkpoints(copy, keep=2) as checkpoints:
            state, meta = checkpoints.restore(states[OLDER])
            assert_same(state, states[OLDER])
            assert meta == {"metrics_bytes": 10 * OLDER}
            said = capsys.readouterr().out
            assert (
                name in said
                and f"kept as {NEWER}.damaged" in said
                and f"goes on from step {OLDER}" in said
            ), said
            # the damaged one does not stand in the way
            checkpoints.save(states[NEWER], {"metrics_bytes": 1})
        tree, _ = checkpoint.read(copy)
        assert_same(tree["params"], states[NEWER].params)
        assert sorted(path.name for path in copy.iterdir()) == [
            str(OLDER),
            str(NEWER),
            f"{NEWER}.damaged",
        ]
        shutil.rmtree(copy)


def no_flipped_bit_is_silent(directory, states, flips, capsys):
    """`flips` bits, one at a time, spread over all files of the newer checkpoint: some in each, the
    others where the bytes are.
    """
    rng, folder = random.Random(0), directory / str(NEWER)
    paths = files(folder)
    chosen = paths + rng.choices(
        paths, weights=[path.stat().st_size for path in paths], k=flips - len(paths)
    )
    for path in chosen:
        place, bit = rng.randrange(path.stat().st_size), 1 << rng.randrange(8)
        flip(path, place, bit)
        said = assert_the_older_is_read(directory, states, capsys)
        assert path.relative_to(folder).as_posix() in said, said
        flip(path, place, bit)
    assert len(chosen) == flips
    assert_same(checkpoint.read(directory)[0]["params"], states[NEWER].params)


def flip(path, place, bit):
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ bit]))


def test_every_kind_of_damage_falls_back_to_the_older_checkpoint(small, tmp_path, capsys):
    every_kind_falls_back(*small, KINDS, tmp_path, capsys)


@pytest.mark.parametrize("what, how", [pair for pair in EVERY_PAIR if pair not in KINDS])
def test_every_other_damage_to_a_file_is_found_too(small, tmp_path, capsys, what, how):
    shutil.copytree(small[0], tmp_path / "copy")
    name = spoil(tmp_path / "copy" / str(NEWER), what, how)
    assert name in assert_the_older_is_read(tmp_path / "copy", small[1], capsys)


def test_no_flipped_bit_of_a_small_checkpoint_is_silent(small, tmp_path, capsys):
    shutil.copytree(small[0], tmp_path / "copy")
    no_flipped_bit_is_silent(tmp_path / "copy", small[1], 100, capsys)


@pytest.mark.slow
def test_the_same_with_checkpoints_of_real_size(tmp_path, capsys):
    """113 MB each: 100 flipped bits, 12 kinds of damage; every read hashes both."""
    directory = tmp_path / "real"
    states = written(directory, 110_000)
    assert (
        sum(path.stat().st_size for path in files(directory / str(NEWER))) > 100e6
        and len(KINDS) == 12
    )
    every_kind_falls_back(directory, states, KINDS, tmp_path, capsys)
    no_flipped_bit_is_silent(directory, states, 100, capsys)


def test_a_file_that_was_not_there_is_damage_but_the_systems_own_is_not(small, tmp_path, capsys):
    shutil.copytree(small[0], tmp_path / "copy")
    (tmp_path / "copy" / str(NEWER) / ".DS_Store").write_bytes(b"Finder")
    assert int(checkpoint.read(tmp_path / "copy")[0]["step"]) == NEWER
    (tmp_path / "copy" / str(NEWER) / "state" / "array_metadatas").write_bytes(b"garbage")
    assert "state/array_metadatas does not belong there" in assert_the_older_is_read(
        tmp_path / "copy", small[1], capsys
    )


def test_two_damaged_ones_with_the_same_step_are_both_kept(small, tmp_path):
    directory = tmp_path / "copy"
    shutil.copytree(small[0], directory)
    for _ in range(2):
        spoil(directory / str(NEWER), "data", zero)
        with Checkpoints(directory, keep=2) as checkpoints:
            checkpoints.restore(small[1][OLDER])
            checkpoints.save(small[1][NEWER], {})
    assert {f"{NEWER}.damaged", f"{NEWER}.damaged-2"} <= {path.name for path in directory.iterdir()}


def test_when_none_is_whole_that_is_one_line_and_stays_so(small, tmp_path):
    directory = tmp_path / "stage" / "checkpoints"
    shutil.copytree(small[0], directory)
    for step in (OLDER, NEWER):
        spoil(directory / str(step), "data", truncate)
    # nothing was renamed, or the second run would begin at step 0 without a word
    for _ in range(2):
        with Checkpoints(directory, keep=2) as checkpoints, pytest.raises(UserError) as caught:
            checkpoints.restore(small[1][OLDER])
        line = str(caught.value)
        assert "\n" not in line and all(
            part in line
            for part in (f"step {NEWER} (", f"step {OLDER} (", f"move {tmp_path / 'stage'} away")
        ), line
    with pytest.raises(
        UserError, match=f"no checkpoint is left that is whole, damaged are step {NEWER} "
    ):
        checkpoint.read(directory, step=NEWER)
    assert checkpoint.newest_whole_step(directory) is None


@pytest.fixture
def without_checksums(tmp_path):
    """Steps 3 and 7 of make_state(step, step / 2), as written by the version of dajax before
    checksums (commit e85cdea).
    """
    with zipfile.ZipFile(
        tiny.ROOT / "tests" / "golden" / "checkpoints_without_checksums.zip"
    ) as archive:
        archive.extractall(tmp_path / "old")
    return tmp_path / "old"


def test_a_checkpoint_without_checksums_is_taken_and_said(without_checksums, capsys):
    tree, meta = checkpoint.read(without_checksums)
    assert (
        "step 7 has no checksums, an earlier version of dajax wrote it" in capsys.readouterr().out
    )
    assert int(tree["step"]) == 7 and meta == {
        "metrics_bytes": 0,
        "evaluated_at": -1,
        "report": None,
    }
    with Checkpoints(without_checksums, keep=2) as checkpoints:
        assert_same(checkpoints.restore(make_state())[0], make_state(7, 3.5))
        checkpoints.save(make_state(9), {})
    assert checkpoint.steps(without_checksums) == [7, 9]


@pytest.mark.parametrize(
    "what, how",
    [
        ("data", remove),
        ("index", zero),
        ("tree", empty),
        ("meta", truncate),
        ("meta", remove),
        ("folder", remove),
    ],
)
def test_without_checksums_what_cannot_be_read_falls_back(without_checksums, what, how, capsys):
    folder = without_checksums / "7"
    if what == "data":
        remove(folder / "state" / "d")  # where these small arrays are
    else:
        spoil(folder, what, how)
    tree, _ = checkpoint.read(without_checksums)
    assert (
        int(tree["step"]) == 3 and "the checkpoint of step 7 is damaged" in capsys.readouterr().out
    )
    np.testing.assert_array_equal(
        tree["params"]["classifier"]["w"], np.full((3, 2), 1.5, np.float32)
    )


def test_a_checkpoint_of_now_without_its_list_is_no_old_one(small, tmp_path, capsys):
    shutil.copytree(small[0], tmp_path / "copy")
    (tmp_path / "copy" / str(NEWER) / NAME).unlink()
    assert f"{NAME} is missing" in assert_the_older_is_read(tmp_path / "copy", small[1], capsys)


def test_sha256sum_itself_finds_the_list_right(small):
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", NAME], cwd=small[0] / str(NEWER), check=True
    )
