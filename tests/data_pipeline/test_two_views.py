"""Parts that show two views of the same rows, and parts that tell their rows."""

import collections
import dataclasses

import numpy as np
import pytest
import stored_batches

from data_pipeline import DataError, decode
from data_pipeline.appearance import Appearance
from data_pipeline.classification import pipeline
from data_pipeline.sampling import make_key
from data_pipeline.segmentation import pipeline as seg_pipeline
from data_pipeline.segmentation import transforms as seg_transforms

JITTER = dict(stored_batches.JITTER, probability=0.9)
STRONG = Appearance.from_config(
    {"color_jitter": JITTER, "blur": {"sigma": (0.5, 1.5), "probability": 0.5}}, "strong_view"
)
# Leaves every value as it is: what moves in the second view has moved in the first.
NO_CHANGE = Appearance.from_config({"color_jitter": None, "blur": None}, "strong_view")


def rows(step):
    """Four rows, of which the last is none."""
    return np.array([3, 0, 5 + step, -1])


def one_batch(task, part, step=2):
    with task.batches({"part": part}, step, step + 1) as stream:
        return next(stream)["part"]


def assert_same(one, other, *names):
    for name in names or one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return stored_batches.image_sets(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return stored_batches.segmentation_set(tmp_path_factory.mktemp("frames"), count=8)


def photo_part(images, transform=stored_batches.CROPPED, **changes):
    return pipeline.Part(images, rows, transform, make_key(0, "x"), with_labels=True, **changes)


def frame_part(frames, settings, **changes):
    transform = seg_transforms.from_config(stored_batches.WHOLE | settings)
    return seg_pipeline.SegPart(
        frames, rows, transform, make_key(0, "x"), with_labels=True, **changes
    )


@pytest.mark.parametrize("kind", ["files", "color"])
def test_a_second_view_of_photos_leaves_the_first_and_draws_anew(sets, kind):
    once = one_batch(pipeline, photo_part(sets[kind]))
    twice = one_batch(pipeline, photo_part(sets[kind], strong_view=stored_batches.CROPPED))
    assert set(twice) == {*once, "strong_image"}
    assert_same(once, twice, *once)
    first, second = twice["image"], twice["strong_image"]
    assert second.shape == first.shape and second.dtype == np.float32
    assert (first != second).any(axis=(1, 2, 3)).tolist() == [True, True, True, False]
    assert not second[3].any(), "a padded row is zero in both views"


def test_a_second_view_has_a_transform_of_its_own(sets):
    strong = dataclasses.replace(stored_batches.CROPPED, appearance=STRONG)
    transform = stored_batches.CROPPED.for_evaluation()
    part = photo_part(sets["files"], transform, strong_view=strong)
    views = one_batch(pipeline, part)
    alone = one_batch(pipeline, photo_part(sets["files"], transform))
    assert_same(alone, views, *alone)
    plain = one_batch(pipeline, dataclasses.replace(part, strong_view=stored_batches.CROPPED))
    assert (views["strong_image"][:3] != plain["strong_image"][:3]).any(axis=(1, 2, 3)).all()


def test_photos_in_memory_have_the_second_view_of_files(sets):
    strong = dataclasses.replace(stored_batches.CROPPED, appearance=STRONG)
    images = np.stack([sets["color"].images[i] for i in range(11)])
    records = [stored_batches.encoded(image) for image in images]
    as_records = dataclasses.replace(sets["color"], images=None, records=records)
    batches = [
        one_batch(pipeline, photo_part(one, strong_view=strong))
        for one in (sets["color"], as_records)
    ]
    assert_same(*batches)


def test_two_warped_views_are_warped_apart(sets):
    part = photo_part(sets["memory"], stored_batches.WARPED, strong_view=stored_batches.WARPED)
    batch = one_batch(pipeline, part)
    assert (batch["image"][:3] != batch["strong_image"][:3]).any(axis=(1, 2, 3)).all()
    assert np.abs(batch["strong_image"][3]).max() == 0


def test_a_second_view_that_cannot_work_is_refused_at_once(sets):
    too_large = dataclasses.replace(stored_batches.CROPPED, resize_hw=None, size_hw=(99, 99))
    with pytest.raises(DataError, match="31x33, smaller than the crop 99x99"):
        pipeline.batches({"part": photo_part(sets["color"], strong_view=too_large)}, 0, 1)


@pytest.mark.parametrize("name", stored_batches.SEG_CASES)
def test_both_views_of_a_frame_lie_at_the_same_place(frames, name):
    """Without a change of its own the second view is the first without its colour jitter."""
    settings = stored_batches.SEG_CASES[name]
    once = one_batch(seg_pipeline, frame_part(frames, settings))
    twice = one_batch(seg_pipeline, frame_part(frames, settings, strong_view=NO_CHANGE))
    assert set(twice) == {*once, "strong_image"}
    assert_same(once, twice, *once)
    plain = one_batch(seg_pipeline, frame_part(frames, settings | {"color_jitter": None}))
    np.testing.assert_array_equal(twice["strong_image"], plain["image"])
    if settings.get("color_jitter"):
        assert (twice["image"] != twice["strong_image"]).any()


def test_the_second_view_of_a_frame_is_its_first_with_other_colours(frames):
    part = frame_part(frames, stored_batches.SEG_CASES["shorter_edge"], strong_view=STRONG)
    steps = [one_batch(seg_pipeline, part, step) for step in (0, 1)]
    for batch in steps:
        differs = (batch["image"] != batch["strong_image"]).any(axis=(1, 2, 3))
        assert not batch["strong_image"][3].any() and differs[:3].any()
    moved = [batch["strong_image"] - batch["image"] for batch in steps]
    assert (moved[0][0] != moved[1][0]).any(), "each step draws anew"
    again = one_batch(seg_pipeline, part, 1)
    assert_same(steps[1], again)


def test_a_file_is_read_and_decoded_once_for_both_views(sets, frames, monkeypatch):
    read, counts = decode._read, collections.Counter()

    def counted(path, function):
        counts[str(path)] += 1
        return read(path, function)

    monkeypatch.setattr(decode, "_read", counted)
    part = photo_part(sets["files"], strong_view=stored_batches.CROPPED)
    one_batch(pipeline, part, 0)
    assert set(counts.values()) == {1} and len(counts) == 3
    part = frame_part(frames, {}, strong_view=STRONG)
    for chosen, most in ((part, 3), (dataclasses.replace(part, strong_view=None), 3)):
        counts.clear()
        one_batch(seg_pipeline, dataclasses.replace(chosen, with_labels=False), 0)
        assert len(counts) == most, "rows 3, 0, 5; the padded row reads 3 again"
        assert sorted(counts.values()) == [1, 1, 2]


def test_rows_enter_the_batch_where_they_are_asked_for(sets, frames):
    for task, part in (
        (pipeline, photo_part(sets["files"])),
        (seg_pipeline, frame_part(frames, {})),
    ):
        batch = one_batch(task, part)
        assert batch["index"].dtype == np.int32 and batch["index"].tolist() == [3, 0, 7, -1]
        without = one_batch(task, dataclasses.replace(part, with_index=False))
        assert set(without) == set(batch) - {"index"}
        assert_same(without, batch, *without)


def test_an_error_under_two_views_names_its_file(sets, frames, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    photos = dataclasses.replace(sets["files"], paths=(str(broken), *sets["files"].paths[1:]))
    with pytest.raises(DataError, match="broken.png: cannot be decoded"):
        one_batch(pipeline, photo_part(photos, strong_view=stored_batches.CROPPED), 0)
    spoilt = dataclasses.replace(frames, image_paths=(str(broken), *frames.image_paths[1:]))
    with pytest.raises(DataError, match="broken.png: cannot be decoded"):
        one_batch(seg_pipeline, frame_part(spoilt, {}, strong_view=STRONG), 0)
