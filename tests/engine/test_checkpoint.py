import errno
import os
import pathlib
import resource
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_states import assert_same, make_state

from dajax.engine import checkpoint, checksums
from dajax.engine.checkpoint import Checkpoints
from dajax.errors import UserError
from dajax.state import adopt


def test_a_state_comes_back_bit_for_bit(tmp_path):
    checkpoints, state = Checkpoints(tmp_path, keep=2), make_state(7, np.pi)
    checkpoints.save(state, {"metrics_bytes": 12})
    checkpoints.close()
    restored, meta = Checkpoints(tmp_path, keep=2).restore(make_state())
    assert_same(restored, state)
    assert meta == {"metrics_bytes": 12}


def test_it_opens_without_a_model_as_numpy(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(jax.device_put(make_state(7), jax.devices()[3]), {})
    checkpoints.close()
    tree, _ = checkpoint.read(tmp_path)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(tree))
    np.testing.assert_array_equal(tree["params"]["classifier"]["w"], np.ones((3, 2)))


def test_only_the_last_ones_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        checkpoints.save(make_state(step), {})
        checkpoints.wait()
    checkpoints.close()
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit()) == ["2", "3"]


@pytest.mark.parametrize(
    "name",
    ["2.unfinished", "2.unfinished.orbax-checkpoint-tmp", "2.orbax-checkpoint-tmp", "0.removed"],
)
def test_a_half_written_checkpoint_is_swept_away(tmp_path, name):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(make_state(1), {})
    remains = tmp_path / name
    remains.mkdir()
    (remains / "half").write_text("")
    assert checkpoint.read(tmp_path)[0]["step"] == 1 and remains.exists(), (
        "reading changes no workdir"
    )
    with Checkpoints(tmp_path, keep=2) as reopened:
        assert reopened.latest_step() == 1 and not remains.exists()
        reopened.save(make_state(2), {})
    assert checkpoint.read(tmp_path)[0]["step"] == 2


def test_a_save_in_flight_is_no_checkpoint_yet(tmp_path, monkeypatch):
    """Held up just before the last of its files, its checksums: the older one is the newest, for
    every reader.
    """
    reached, go_on, write = threading.Event(), threading.Event(), checksums.write

    def held_up(folder):
        reached.set()
        assert go_on.wait(60)
        write(folder)

    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(make_state(1), {})
        checkpoints.wait()
        monkeypatch.setattr(checksums, "write", held_up)
        checkpoints.save(make_state(2), {})
        assert reached.wait(60)
        assert (
            checkpoints.latest_step() == 1
            and checkpoint.steps(tmp_path) == [1]
            and int(checkpoint.read(tmp_path)[0]["step"]) == 1
        )
        go_on.set()
        checkpoints.wait()
        assert checkpoint.steps(tmp_path) == [2]


@pytest.mark.parametrize(
    "number, says",
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "mount the file system"),
        (errno.EACCES, "chmod"),
    ],
)
def test_a_write_that_fails_at_its_end_says_what_is_whole_and_the_remedy_of_its_cause(
    tmp_path, monkeypatch, number, says
):
    def fails(*_):
        raise OSError(number, os.strerror(number))

    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(make_state(1), {})
    checkpoints.wait()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "rename", fails)
        checkpoints.save(make_state(2), {})
        with pytest.raises(UserError) as caught:
            checkpoints.wait()
    line = str(caught.value)
    assert (
        os.strerror(number) in line
        and "the checkpoint of step 1 is complete" in line
        and says in line
    )
    assert [path.name for path in tmp_path.iterdir()] == ["1"], (
        "what was half written may be what filled the disk"
    )
    for path in (tmp_path / "1" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    monkeypatch.setattr(checkpoint.os, "rename", fails)
    checkpoints.save(make_state(2), {})
    with pytest.raises(UserError, match="no checkpoint is whole"):
        checkpoints.close()


def test_another_model_is_refused_by_name(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(make_state(1), {})
    checkpoints.wait()
    other = make_state(1)
    with pytest.raises(
        UserError, match=r"params/classifier/w has shape \(3, 2\), this run needs \(5, 2\)"
    ):
        checkpoints.restore(other.replace(params={"classifier": {"w": jnp.zeros((5, 2))}}))
    with pytest.raises(UserError, match="not a checkpoint of this method"):
        checkpoints.restore(other.replace(params={"segmenter": {"w": jnp.zeros((5, 2))}}))


def test_a_full_disk_keeps_the_last_checkpoint_and_says_so(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(make_state(1), {})
    checkpoints.wait()
    usage = checkpoint.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(
        UserError,
        match="the disk has 0 MiB free.*the checkpoint of step 1 is complete.*free some space",
    ):
        checkpoints.save(make_state(2), {})
    assert checkpoint.read(tmp_path)[0]["step"] == 1


def test_a_write_that_fails_half_way_keeps_the_last_checkpoint(tmp_path):
    """A real failure in Orbax's threads: files longer than the limit cannot be written (EFBIG), as
    on a quota.
    """
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(make_state(1), {})
    checkpoints.wait()
    big = make_state(2).replace(
        params={
            "classifier": {
                "w": jnp.asarray(
                    np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
                )
            }
        }
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(
            UserError,
            match="cannot write a checkpoint.*File too large.*step 1 is complete.*ulimit -f",
        ):
            checkpoints.save(big, {})
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.read(tmp_path)[0]["step"] == 1


def test_a_missing_folder_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="no checkpoints under"):
        checkpoint.read(pathlib.Path(tmp_path) / "nothing")


def test_adopt_spreads_one_domain_over_two():
    template = {"bn": jnp.zeros((2, 3)), "w": jnp.zeros(4)}
    saved = {"bn": np.arange(3.0).reshape(1, 3), "w": np.ones(4)}
    out = adopt(template, saved, what="test")
    np.testing.assert_array_equal(out["bn"], [[0, 1, 2], [0, 1, 2]])


def test_adopt_names_what_does_not_fit():
    with pytest.raises(UserError, match=r"w has shape \(4,\), this model needs \(5,\)"):
        adopt({"w": jnp.zeros(5)}, {"w": np.ones(4)}, what="test")
    with pytest.raises(UserError, match=r"missing \['v'\], unexpected \['w'\]"):
        adopt({"v": jnp.zeros(5)}, {"w": np.ones(5)}, what="test")
