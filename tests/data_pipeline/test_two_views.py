"""Parts that show two views of the same rows, and parts that tell their rows."""

import collections
import dataclasses

import numpy as np
import pytest
import stored_batches

from data_pipeline import DataError, batch_parts, decode
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


def batch_of(task, step=2, **parts):
    """The batch of a step; one stream for all the parts, since each costs a tenth of a second."""
    with task.batches(parts, step, step + 1) as batches:
        return next(batches)


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


def test_a_second_view_of_photos_leaves_the_first_and_draws_anew(sets):
    kinds = {
        "files": (sets["files"], stored_batches.CROPPED),
        "memory": (sets["color"], stored_batches.CROPPED),
        "warped": (sets["memory"], stored_batches.WARPED),
    }
    parts = {name: photo_part(*arguments) for name, arguments in kinds.items()}
    both = {
        f"{name}_twice": dataclasses.replace(part, strong_view=part.transform)
        for name, part in parts.items()
    }
    batch = batch_of(pipeline, **parts, **both)
    for name in kinds:
        once, twice = batch[name], batch[f"{name}_twice"]
        assert set(twice) == {*once, "strong_image"}
        assert_same(once, twice, *once)
        first, second = twice["image"], twice["strong_image"]
        assert second.shape == first.shape and second.dtype == np.float32
        assert (first != second).any(axis=(1, 2, 3)).tolist() == [True, True, True, False]
        assert not second[3].any(), "a padded row is zero in both views"


def test_a_second_view_has_a_transform_of_its_own_in_memory_as_from_files(sets):
    strong = dataclasses.replace(stored_batches.CROPPED, appearance=STRONG)
    plain = dataclasses.replace(strong, appearance=NO_CHANGE)
    first = stored_batches.CROPPED.for_evaluation()
    records = [stored_batches.encoded(image) for image in sets["color"].images]
    as_records = dataclasses.replace(sets["color"], images=None, records=records)
    batch = batch_of(
        pipeline,
        alone=photo_part(sets["color"], first),
        plain=photo_part(sets["color"], first, strong_view=plain),
        memory=photo_part(sets["color"], first, strong_view=strong),
        records=photo_part(as_records, first, strong_view=strong),
    )
    assert_same(batch["alone"], batch["memory"], *batch["alone"])
    assert_same(batch["memory"], batch["records"])
    assert (batch["plain"]["strong_image"] != batch["memory"]["strong_image"]).any()


def test_a_second_view_that_cannot_work_is_refused_at_once(sets):
    too_large = dataclasses.replace(stored_batches.CROPPED, resize_hw=None, size_hw=(99, 99))
    with pytest.raises(DataError, match="31x33, smaller than the crop 99x99"):
        pipeline.batches({"part": photo_part(sets["color"], strong_view=too_large)}, 0, 1)


def test_both_views_of_a_frame_lie_at_the_same_place(frames):
    """Without a change of its own the second view is the first without its colour jitter."""
    cases = ("jitter_after", "jitter_before", "image_scales")  # crops, flips and sizes of a batch
    parts = {name: frame_part(frames, stored_batches.SEG_CASES[name]) for name in cases}
    both = {
        f"{name}_twice": dataclasses.replace(part, strong_view=NO_CHANGE)
        for name, part in parts.items()
    }
    batch = batch_of(seg_pipeline, **parts, **both)
    for name, part in parts.items():
        once, twice = batch[name], batch[f"{name}_twice"]
        assert set(twice) == {*once, "strong_image"}
        assert_same(once, twice, *once)
        chosen = batch_parts.chosen(seg_pipeline.Reader(part), 2, 4)
        plain = dataclasses.replace(part.transform, color_jitter=None)
        for i, row in enumerate(rows(2)[:3]):
            numbers = chosen["uniforms"][i], chosen["batch_uniform"][i]
            image, _ = seg_transforms.apply(frames.read_image(row), None, *numbers, plain)
            expected = seg_transforms.normalise(image, plain)
            np.testing.assert_allclose(twice["strong_image"][i], expected, atol=1e-5)  # float32
        is_jittered = part.transform.color_jitter is not None
        assert (twice["image"] != twice["strong_image"]).any() == is_jittered


def test_the_second_view_of_a_frame_is_its_first_with_other_colours(frames):
    part = frame_part(frames, stored_batches.SEG_CASES["shorter_edge"], strong_view=STRONG)
    steps = [batch_of(seg_pipeline, step, part=part)["part"] for step in (0, 1)]
    for batch in steps:
        differs = (batch["image"] != batch["strong_image"]).any(axis=(1, 2, 3))
        assert not batch["strong_image"][3].any() and differs[:3].any()
    moved = [batch["strong_image"] - batch["image"] for batch in steps]
    assert (moved[0][0] != moved[1][0]).any(), "each step draws anew"
    with seg_pipeline.batches({"part": part}, 0, 2) as batches:
        for batch, again in zip(batches, steps, strict=True):
            assert_same(batch["part"], again)


def test_a_file_is_read_and_decoded_once_for_both_views(sets, frames, monkeypatch):
    read, counts = decode._read, collections.Counter()

    def counted(path, function):
        counts[str(path)] += 1
        return read(path, function)

    monkeypatch.setattr(decode, "_read", counted)
    part = photo_part(sets["files"], strong_view=stored_batches.CROPPED)
    batch_of(pipeline, 0, part=part)
    assert sorted(counts.values()) == [1, 1, 1]
    counts.clear()
    part = frame_part(frames.without_labels(), {}, strong_view=STRONG)
    batch_of(seg_pipeline, 0, part=dataclasses.replace(part, with_labels=False))
    assert sorted(counts.values()) == [1, 1, 2], "the padded row reads the first one's file"


def test_rows_enter_the_batch_where_they_are_asked_for(sets, frames):
    for task, part in (
        (pipeline, photo_part(sets["files"])),
        (seg_pipeline, frame_part(frames, {})),
    ):
        batch = batch_of(task, with_=part, without=dataclasses.replace(part, with_index=False))
        index = batch["with_"]["index"]
        assert index.dtype == np.int32 and index.tolist() == [3, 0, 7, -1]
        assert set(batch["without"]) == set(batch["with_"]) - {"index"}
        assert_same(batch["without"], batch["with_"], *batch["without"])


def test_an_error_under_two_views_names_its_file(sets, frames, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    photos = dataclasses.replace(sets["files"], paths=(str(broken), *sets["files"].paths[1:]))
    with pytest.raises(DataError, match="broken.png: cannot be decoded"):
        batch_of(pipeline, 0, part=photo_part(photos, strong_view=stored_batches.CROPPED))
    spoilt = dataclasses.replace(frames, image_paths=(str(broken), *frames.image_paths[1:]))
    with pytest.raises(DataError, match="broken.png: cannot be decoded"):
        batch_of(seg_pipeline, 0, part=frame_part(spoilt, {}, strong_view=STRONG))
