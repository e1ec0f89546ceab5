"""Streams of batches end with everything that they had under way, whichever way a run ends."""

import collections
import gc
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pixel_files
import pytest
import seg_files
import stopped_run

from dajax.engine.signals import StopFlag
from dajax.errors import StopRequested
from dajax.tasks.classification.feed import Feed
from dajax.tasks.common import Domains
from dajax.tasks.segmentation.feed import SegFeed
from data_pipeline import DataError, ImageSet, batch_parts, stream
from data_pipeline.classification import pipeline
from data_pipeline.classification.transforms import Transform

SECONDS_TO_END = 20  # from the signal on; it takes 2 on an idle machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for name in ("photos/a", "photos/b", "images", "labels"):
        (root / name).mkdir(parents=True)
    for i in range(12):
        picture = pixel_files.png(pixel_files.noise(200, 200, 3, seed=i))
        (root / "photos" / "ab"[i % 2] / f"{i}.png").write_bytes(picture)
        (root / "images" / f"{i}.png").write_bytes(picture)
        (root / "labels" / f"{i}.png").write_bytes(
            pixel_files.png(np.full((200, 200, 1), 7, np.uint8))
        )
    seg_files.write_classes(root, seg_files.ROAD)
    return str(root)


@pytest.fixture(autouse=True)
def nothing_left():
    """Of the tests before."""
    stream.close_all()


@pytest.mark.parametrize("open_one", [stopped_run.photo_stream, stopped_run.frame_stream])
def test_breaking_off_closes_a_stream(folder, open_one):
    with pytest.raises(KeyboardInterrupt), open_one(folder) as batches:
        next(batches)
        raise KeyboardInterrupt
    assert list(batches) == [] and not stream._running


def test_a_forgotten_stream_is_closed_when_the_next_one_is_made(folder):
    holder = stopped_run.Holder(stopped_run.photo_stream(folder))
    next(holder.stream)
    forgotten = holder.stream._pipeline
    del holder
    gc.collect()
    assert forgotten.closing.is_asked and forgotten in stream._running
    stream.BatchStream(None, 0, None, 0)
    assert forgotten.iterator is None and not stream._running


def test_leaving_the_interpreter_closes_every_stream_whatever_the_impatience(folder, monkeypatch):
    held = [stopped_run.photo_stream(folder), stopped_run.photo_stream(folder)]
    next(held[0])
    end, calls = stream._Pipeline.end, collections.Counter()

    def interrupted(self):
        calls[self] += 1
        if calls[self] == 1:
            raise KeyboardInterrupt  # a second Ctrl-C
        end(self)

    monkeypatch.setattr(stream._Pipeline, "end", interrupted)
    stream.close_all()
    assert not stream._running and len(calls) == 2


def test_a_stream_closes_itself_after_its_last_batch():
    images = ImageSet("x", ("a",), np.zeros(4, np.int32), np.zeros((4, 8, 8, 1), np.uint8))
    part = pipeline.Part(
        images, lambda step: np.arange(2), Transform((8, 8), (0.5,), (0.5,)), 0, True
    )
    batches = pipeline.batches({"a": part}, 0, 3)
    assert len(stream._running) == 1
    assert len(list(batches)) == 3 and not stream._running and list(batches) == []
    assert list(pipeline.batches({"a": part}, 3, 3)) == [] and not stream._running


def test_an_error_closes_the_stream_and_names_the_file(folder, tmp_path):
    os.symlink(os.path.join(folder, "labels"), tmp_path / "labels")
    seg_files.write_classes(tmp_path, seg_files.ROAD)
    for name in ("photos/a", "images"):
        (tmp_path / name).mkdir(parents=True)
        for i in range(12):
            (tmp_path / name / f"{i}.png").write_bytes(
                pixel_files.png(np.zeros((1, 1, 3), np.uint8), size=(20000, 20000))
            )
    for open_one in (stopped_run.photo_stream, stopped_run.frame_stream):
        batches = open_one(str(tmp_path))
        with pytest.raises(DataError, match=r"\d+.png: 20000x20000 pixels"):
            next(batches)
        assert list(batches) == [] and not stream._running


@pytest.mark.parametrize("open_one", [stopped_run.photo_stream, stopped_run.frame_stream])
def test_the_shares_of_a_step_are_its_rows(folder, open_one):
    """Each with its own random numbers, whoever reads it: views included."""
    whole = list(open_one(folder, 3))
    shares = [list(open_one(folder, 3, batch_parts.Share(index, 2))) for index in range(2)]
    assert len(whole) == len(shares[0]) == len(shares[1]) == 3
    for step, batch in enumerate(whole):
        for part, leaves in batch.items():
            for name, rows in leaves.items():
                halves = [share[step][part][name] for share in shares]
                np.testing.assert_array_equal(np.concatenate(halves), rows, err_msg=name)


def test_a_share_of_steps_has_them_whole(folder):
    whole = list(stopped_run.photo_stream(folder, 5))
    for index, steps in ((0, [0, 3]), (1, [1, 4]), (2, [2])):
        share = batch_parts.Share(index, 3, of_steps=True)
        found = list(stopped_run.photo_stream(folder, 5, share))
        assert len(found) == len(steps)
        for batch, step in zip(found, steps, strict=True):
            np.testing.assert_array_equal(batch["a"]["image"], whole[step]["a"]["image"])


def test_rows_that_cannot_be_shared_are_one_line(folder):
    with pytest.raises(DataError, match="'a': 16 rows a step do not divide over 3 processes"):
        stopped_run.photo_stream(folder, 5, batch_parts.Share(0, 3))


def stopped():
    flag = StopFlag()
    flag.signal = signal.SIGTERM
    return flag


def test_a_pass_that_is_stopped_is_closed(folder):
    images = stopped_run.read_folder(folder, "photos")
    transform = Transform((32, 32), (0.5,) * 3, (0.5,) * 3, resize_hw=(40, 40), crop="center")
    transforms = {"train": transform, "eval": transform}
    feed = Feed(
        (images,),
        images,
        images,
        transforms=transforms,
        seed=0,
        stage="x",
        devices=jax.devices()[:1],
        stop=stopped(),
    )
    frames = stopped_run.read_domain(seg_files.own(folder))
    transform = stopped_run.SegTransform(
        (64, 64), "bicubic", (), None, None, False, None, "rgb", 255.0, (0.5,) * 3, (0.5,) * 3
    )
    domains = Domains(
        frames,
        frames,
        frames,
        {name: transform for name in ("source", "target", "evaluation")},
        (64, 64, 3),
        ("road",),
    )
    seg_feed = SegFeed(
        domains,
        seed=0,
        stage="x",
        directory=pathlib.Path(folder),
        devices=jax.devices()[:1],
        is_oracle=False,
        stop=stopped(),
    )
    for open_pass in (
        lambda: feed.sequence("target", 4, views="eval", name="x"),
        lambda: seg_feed.source_pass(2),
        lambda: seg_feed.target_pass(2),
    ):
        with pytest.raises(StopRequested):
            next(open_pass())
        assert not stream._running


def seconds_to_end(command, **options):
    """Seconds from SIGTERM, sent once the process says that it is ready, to its end; and its exit
    status. Fails where it does not end.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    ) as process:
        for line in process.stdout:
            if line.startswith("ready"):
                break
        process.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        try:
            output, _ = process.communicate(timeout=SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail(
                f"still there {SECONDS_TO_END} s after SIGTERM: {process.communicate()[0][-500:]}"
            )
    assert "Traceback" not in output, output
    return time.monotonic() - begin, process.returncode


def stop_and_wait(folder):
    repository = pathlib.Path(stopped_run.__file__).parents[2]
    command = [sys.executable, stopped_run.__file__, folder]
    _, status = seconds_to_end(command, env=os.environ | {"PYTHONPATH": str(repository)})
    assert status == 128 + signal.SIGTERM


def test_a_run_that_is_stopped_ends(folder):
    for _ in range(2):  # before streams were closed, eight of nine such runs stayed for ever
        stop_and_wait(folder)


@pytest.mark.slow
def test_a_run_that_is_stopped_ends_every_time(folder):
    for _ in range(30):
        stop_and_wait(folder)
