"""Which classes the labels of a set contain, and the file that keeps the answer."""

import dataclasses
import json
import os
import warnings

import numpy as np
import pytest
import seg_files
from gta5_set import make_set

from data_pipeline.errors import DataError
from data_pipeline.segmentation.class_balanced import classes_present
from data_pipeline.segmentation.segmentation_set import SegmentationSet

ROAD, SKY, TRAIN, IGNORED_ID = 7, 23, 31, 4  # ids of GTA5's files; train ids 0, 10 and 16
EXPECTED = [{0, 10}, {0}, {0, 16}, set()]  # of the fixture


def as_sets(present):
    return [set(np.flatnonzero(classes).tolist()) for classes in present]


@pytest.fixture
def gta5(tmp_path):
    """Four labels: road and sky; road; road and train; nothing but ignored pixels."""
    labels = {
        "00001": [ROAD, SKY],
        "00002": [ROAD, ROAD],
        "00003": [ROAD, TRAIN],
        "00004": [IGNORED_ID, IGNORED_ID],
    }
    return make_set(tmp_path / "gta5", labels)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "made" / "classes.json"


@pytest.fixture
def no_reading(monkeypatch):
    """From its call on, a label that is read is a failure."""

    def fail(self, index):
        raise AssertionError(f"label {index} was read")

    return lambda: monkeypatch.setattr(SegmentationSet, "read_label", fail)


def test_the_classes_of_every_label_are_found(gta5, cache):
    present = classes_present(gta5, cache=cache)
    assert present.shape == (4, 19) and present.dtype == bool and as_sets(present) == EXPECTED


def test_progress_tells_each_label_and_nothing_where_the_answer_is_known(gta5, cache):
    told = []
    classes_present(gta5, cache=cache, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    classes_present(gta5, cache=cache, progress=lambda done, total: told.append((done, total)))
    assert len(told) == 4


def test_the_second_time_no_label_is_read(gta5, cache, no_reading):
    first = classes_present(gta5, cache=cache)
    no_reading()
    second = classes_present(gta5, cache=str(cache))
    assert second.dtype == bool
    np.testing.assert_array_equal(second, first)
    # nothing temporary is left
    assert [path.name for path in cache.parent.iterdir()] == ["classes.json"]


def test_another_set_is_never_taken_for_this_one(gta5, cache, tmp_path):
    classes_present(gta5, cache=cache)
    fewer = dataclasses.replace(
        gta5, image_paths=gta5.image_paths[:2], label_paths=gta5.label_paths[:2]
    )
    assert as_sets(classes_present(fewer, cache=cache)) == EXPECTED[:2]
    same_names = make_set(
        tmp_path / "again", {f"0000{i}": [ROAD, SKY, TRAIN, SKY] for i in range(1, 5)}
    )
    classes_present(gta5, cache=cache)
    assert gta5.fingerprint() == same_names.fingerprint()
    assert as_sets(classes_present(same_names, cache=cache)) == [{0, 10, 16}] * 4


@pytest.mark.parametrize(
    "breaking", ["empty", "cut", "not text", "a list", "other bits", "key gone", "null", "a folder"]
)
def test_a_broken_cache_is_made_anew(gta5, cache, breaking, no_reading):
    classes_present(gta5, cache=cache)
    whole = cache.read_text()
    record = json.loads(whole)
    broken = {
        "empty": b"",
        "cut": whole[: len(whole) // 2].encode(),
        "not text": b"\xff\xfe\x00",
        "a list": b"[1]",
        "other bits": json.dumps(record | {"present": "f" + record["present"][1:]}).encode(),
        "key gone": json.dumps({"of": record["of"]}).encode(),
        "null": json.dumps(record | {"present": None}).encode(),
    }
    if breaking == "a folder":
        cache.unlink()
        cache.mkdir()
        with pytest.warns(UserWarning, match="cannot be written"):
            assert as_sets(classes_present(gta5, cache=cache)) == EXPECTED
        return
    cache.write_bytes(broken[breaking])
    assert as_sets(classes_present(gta5, cache=cache)) == EXPECTED
    assert cache.read_text() == whole
    no_reading()
    classes_present(gta5, cache=cache)


def test_where_the_cache_cannot_be_written_the_answer_is_the_same_and_a_warning_says_so(
    gta5, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(
        UserWarning, match=r"file/classes\.json: cannot be written.*reads all 4 labels again"
    ):
        assert as_sets(classes_present(gta5, cache=tmp_path / "file" / "classes.json")) == EXPECTED

    def refuse(source, destination):
        raise PermissionError(13, "Permission denied", destination)

    # a folder's rights do not stop a test that runs as root
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.warns(UserWarning, match="Permission denied"):
        assert as_sets(classes_present(gta5, cache=tmp_path / "new" / "classes.json")) == EXPECTED
    assert list((tmp_path / "new").iterdir()) == []  # no half-written file


def test_a_cache_that_can_be_written_gives_no_warning(gta5, cache):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classes_present(gta5, cache=cache)


def test_a_broken_label_is_named_and_nothing_is_kept(gta5, cache):
    seg_files.truncate(cache.parent.parent / "gta5" / "labels" / "00003.png")
    with pytest.raises(DataError, match="00003.png"):
        classes_present(gta5, cache=cache)
    assert not cache.exists()


def test_a_missing_label_is_named(gta5, cache):
    os.unlink(gta5.label_paths[1])
    with pytest.raises(DataError, match="00002.png: this label cannot be found"):
        classes_present(gta5, cache=cache)


def test_a_set_without_labels_is_refused(gta5, cache):
    classes_present(gta5, cache=cache)
    with pytest.raises(DataError, match="gta5: a set without labels"):
        classes_present(gta5.without_labels(), cache=cache)
