"""Two workdirs that must hold the same: what a fault has left, and what nothing has disturbed."""

import collections
import hashlib
import json
import pathlib
import re

import numpy as np
import tiny
from tensorboard.compat.proto import event_pb2

# What a killed process may leave, and the next one has to clear away.
REMAINS = re.compile(r"\.tmp$|\.unfinished|\.removed$|\.orbax-checkpoint-tmp|^\.lock$|^\.writable$")
_CHECKPOINT = re.compile(r"(.*checkpoints)/\d+(/.*)?")


def assert_same(straight, other, are_steps_kept=True):
    """The same final states, figures, events, labels and pictures, bit for bit, and nothing else.

    Args:
      straight, other: workdirs.
      are_steps_kept: whether the checkpoints that are kept are those of the same steps; a stop by a
        signal saves at a step of its own.
    """
    straight, other = pathlib.Path(straight), pathlib.Path(other)
    left, right = (_files(workdir) for workdir in (straight, other))
    assert left == right, f"files: {sorted(left ^ right)}"
    for name in sorted(left):
        if name.endswith((".jsonl", ".png", ".csv", "made.json", "result.json", "round.json")):
            assert (straight / name).read_bytes() == (other / name).read_bytes(), name
    left, right = (json.loads((path / "results.json").read_text()) for path in (straight, other))
    for key in ("stages", "refreshes", "rounds", "snapshots"):
        assert left[key] == right[key], f"results.json: {key}"
    for stage in left["stages"]:
        assert events(straight / stage) == events(other / stage), f"events of {stage}"
        _assert_same_states(straight, other, stage)
        if are_steps_kept:
            kept = (_steps(path / stage / "checkpoints") for path in (straight, other))
            assert next(kept) == next(kept), f"checkpoints of {stage}"


def _assert_same_states(straight, other, stage):
    left, right = (tiny.final_state(workdir, stage) for workdir in (straight, other))
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=f"{stage}: {name}")


def _steps(folder):
    return sorted(path.name for path in folder.iterdir())


def _files(workdir):
    """Names of files, without what two runs may differ in: names of events and what lies in
    checkpoints.
    """
    found = set()
    for path in workdir.rglob("*"):
        name = path.relative_to(workdir).as_posix()
        assert not any(map(REMAINS.search, name.split("/"))), f"{path} was left"
        if _CHECKPOINT.fullmatch(name) or path.is_dir():
            continue
        found.add(re.sub(r"events\.out\.tfevents.*", "events", name))
    return found


def events(directory):
    """{(step, tag, value): how many} of all event files of a stage, without times and speed. Read
    record by record, so that what TensorBoard would pass over is counted too.
    """
    found = collections.Counter()
    for path in directory.glob("events.out.tfevents.*"):
        content, begin = path.read_bytes(), 0
        while begin < len(content):
            length = int.from_bytes(content[begin : begin + 8], "little")
            record = content[begin + 12 : begin + 12 + length]
            begin += length + 16
            assert begin <= len(content), f"{path}: cut within a record"
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                if not value.tag.startswith("throughput/"):
                    figure = value.simple_value
                    if value.HasField("image"):
                        figure = hashlib.sha256(value.image.encoded_image_string).hexdigest()
                    found[event.step, value.tag, figure] += 1
    return found
