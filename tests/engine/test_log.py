"""The files that a run writes beside its checkpoints, when it is killed, resumed, or when a disk
has lost part of them.
"""

import errno
import json
import os

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dajax.engine import log, storage, tensorboard
from dajax.errors import UserError


def lines(first, last):
    return b"".join(
        json.dumps({"step": step, "kind": "train", "loss": 0.5}).encode() + b"\n"
        for step in range(first, last + 1)
    )


def reopened(path, length):
    """What is left of a metrics.jsonl after resuming at `length` and writing one line more."""
    file = log.MetricsFile(path, length)
    file.write(99, "train", {"loss": 0.25})
    assert file.sync() == path.stat().st_size
    file.close()
    return path.read_bytes().removesuffix(b'{"step": 99, "kind": "train", "loss": 0.25}\n')


def test_lines_after_the_checkpoint_are_cut_without_a_word(tmp_path, capsys):
    path = tmp_path / "stage" / "metrics.jsonl"
    assert reopened(path, 0) == b""
    path.write_bytes(lines(1, 9) + b'{"step": 10, "ki')
    assert reopened(path, len(lines(1, 4))) == lines(1, 4)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "found, kept, recorded",
    [
        (lines(1, 3) + b'{"step": 4, "kin', lines(1, 3), 6),
        (b"", b"", 6),
        (None, b"", 6),
        (lines(1, 3) + bytes(len(lines(1, 3))), lines(1, 3), 6),
        (lines(1, 3) + bytes(200) + lines(7, 9), lines(1, 3) + lines(7, 9), 9),
        (lines(1, 3) + b"\x00\xff{broken}\n" + lines(4, 9), lines(1, 7), 8),
        (lines(1, 3) + b"7\n" + lines(4, 8), lines(1, 7), 8),
    ],
    ids=[
        "half a line",
        "empty",
        "gone",
        "zeros at the end",
        "padded by a version before",
        "a broken line",
        "a line that is no metric",
    ],
)
def test_a_metrics_file_that_lost_bytes_keeps_its_whole_lines_and_says_so(
    tmp_path, capsys, found, kept, recorded
):
    path = tmp_path / "metrics.jsonl"
    if found is not None:
        path.write_bytes(found)
    length = len(lines(1, recorded)) + (200 if recorded == 9 else 0)
    assert reopened(path, length) == kept
    said = capsys.readouterr().out
    assert (
        said.count("\n") == 1
        and str(path) in said
        and f"its {kept.count(b'step')} whole lines are kept" in said
    )
    assert b"\0" not in path.read_bytes()


def test_reading_leaves_out_what_is_no_whole_line(tmp_path, capsys):
    path = tmp_path / "metrics.jsonl"
    assert log.read_metrics(path) == []
    path.write_bytes(lines(1, 2))
    assert [row["step"] for row in log.read_metrics(path)] == [
        1,
        2,
    ] and capsys.readouterr().out == ""
    path.write_bytes(lines(1, 2) + b'{"step": 3')
    assert [row["step"] for row in log.read_metrics(path)] == [
        1,
        2,
    ] and "not whole; 2 are taken" in capsys.readouterr().out


def steps_shown(directory, tag="train/loss"):
    """What TensorBoard shows for a tag; in order, since two files of one second are read in any."""
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return sorted(
        event.step for event in (events.Scalars(tag) if tag in events.Tags()["scalars"] else ())
    )


def board(directory, at, lengths):
    """As a run resumed at a step opens it. Never closed: each of these is killed."""
    return tensorboard.TensorBoard(directory, restart_step=at + 1, lengths=lengths)


def write(tensorboard, first, last, kind="train"):
    for step in range(first, last + 1):
        tensorboard.scalars(step, kind, {"loss": 1.0})


def test_what_a_checkpoint_remembers_is_on_disk_before_a_kill(tmp_path):
    one = board(tmp_path, 0, {})
    write(one, 1, 4)
    lengths = one.sync()
    write(one, 5, 6)  # perhaps on disk, perhaps not
    # `one` still holds its file open, as a killed process does
    assert steps_shown(tmp_path)[:4] == [1, 2, 3, 4]
    write(board(tmp_path, 4, lengths), 5, 8)
    two = board(tmp_path, 4, lengths)
    write(two, 5, 9)
    two.sync()
    assert steps_shown(tmp_path) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_killed_before_the_first_checkpoint_no_step_is_there_twice(tmp_path):
    for last in (7, 5, 8):
        one = board(tmp_path, 0, {})
        write(one, 1, last)
        one.sync()
    assert steps_shown(tmp_path) == list(range(1, 9))


def test_what_comes_after_a_checkpoint_of_the_same_step_is_not_there_twice(tmp_path):
    one = board(tmp_path, 0, {})
    write(one, 1, 4)
    one.picture(4, "0", np.zeros((2, 2, 3), np.uint8))
    lengths = one.sync()
    for _ in range(2):
        write(one, 4, 4, kind="refresh")
        one.sync()
        one = board(tmp_path, 4, lengths)
    write(one, 4, 4, kind="refresh")
    one.sync()
    assert steps_shown(tmp_path, "refresh/loss") == [4] and steps_shown(tmp_path) == [1, 2, 3, 4]


def test_resumed_from_a_checkpoint_that_knew_no_lengths_tensorboard_forgets_by_step(tmp_path):
    one = board(tmp_path, 0, {})
    write(one, 1, 7)
    one.sync()
    (file,) = tmp_path.iterdir()
    # of another second, as after a restart
    file.rename(tmp_path / "events.out.tfevents.1700000000.host.1.0")
    two = board(tmp_path, 4, None)
    write(two, 5, 8)
    two.sync()
    assert steps_shown(tmp_path) == list(range(1, 9))


@pytest.mark.parametrize(
    "number, says",
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "mount the file system for writing"),
        (errno.EACCES, "chmod"),
        (errno.EPERM, "chmod"),
        (errno.EIO, "the disk is failing"),
        (errno.ENOENT, "put it back"),
        (errno.EXDEV, "mend that"),
    ],
)
def test_every_cause_has_its_own_remedy_whichever_way_it_comes(number, says):
    as_text = ValueError(
        'OUT_OF_RANGE: Error writing "w/0": Failed to write 8 bytes: what ever '
        f"[os_error_code='{number}']\nsecond line"
    )
    led_to = RuntimeError("commit failed")
    led_to.__cause__ = OSError(number, os.strerror(number))
    for error in (OSError(number, os.strerror(number)), as_text, led_to):
        reason, remedy = storage.cause(error)
        assert reason == os.strerror(number) and says in remedy
        assert ("free some space" in remedy) == (number == errno.ENOSPC)


def test_a_cause_that_is_not_known_is_one_line_of_bounded_length():
    reason, _ = storage.cause(ValueError("x" * 1000 + "\nmore"))
    assert reason == "x" * 200
    assert storage.cause(ValueError())[0] == "ValueError"


def test_metrics_that_cannot_be_written_name_the_file(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=rf"cannot write {tmp_path}/metrics.jsonl: Is a directory"):
        log.MetricsFile(tmp_path / "metrics.jsonl", 0)
