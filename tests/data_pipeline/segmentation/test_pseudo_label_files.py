"""Pseudo-labels as files: written whole or not at all, and read back by the ordinary readers."""

import dataclasses
import itertools
import json
import pathlib

import numpy as np
import pytest
import seg_files
from PIL import Image

from data_pipeline.errors import DataError
from data_pipeline.segmentation import pseudo_label_files as files
from data_pipeline.segmentation.labels import (
    CITYSCAPES,
    CITYSCAPES_16,
    IGNORED,
    train_id_space,
)
from data_pipeline.segmentation.readers import read_domain
from data_pipeline.segmentation.train_ids import check_first_labels

ORIGIN = {"checkpoint": "spcl/20000", "thresholds": [0.9, 0.25]}
HW = (4, 6)


@pytest.fixture
def target(tmp_path):
    """Three images of two cities, with labels that must not be seen."""
    names = ("ulm/ulm_1_2", "aachen/aachen_0_9", "aachen/aachen_0_3")
    seg_files.write_cityscapes(tmp_path / "cityscapes", {name: np.full(HW, 7) for name in names})
    return read_domain(
        dict(
            dataset="cityscapes",
            root=str(tmp_path / "cityscapes"),
            split="train",
            space="cityscapes",
        )
    )


def some_labels(num_classes=19, count=3):
    rng = np.random.default_rng(0)
    return [rng.choice([*range(num_classes), IGNORED], HW) for _ in range(count)]


def test_what_is_written_is_read_back_with_the_images_order_and_classes(target, tmp_path):
    labels, seen = some_labels(), []
    made = files.write(
        tmp_path / "round0", target, labels, origin=ORIGIN, progress=lambda *args: seen.append(args)
    )
    again = files.read(tmp_path / "round0", target, origin=ORIGIN)
    assert (
        again == made
        and again.image_paths == target.image_paths
        and again.class_names == target.class_names
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for i, label in enumerate(labels):
        found = again.read_label(i)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, label)
    check_first_labels(again)  # train ids are what this set holds
    assert [path.rsplit("/", 2)[1:] for path in again.label_paths] == [
        ["labels", f"{name}_leftImg8bit.png"] for name in ("aachen_0_3", "aachen_0_9", "ulm_1_2")
    ]
    assert again.fingerprint() not in (target.fingerprint(), target.without_labels().fingerprint())


def test_a_sixteen_class_set_keeps_its_numbering(target, tmp_path):
    sixteen = read_domain(
        dict(
            dataset="cityscapes",
            root=str(tmp_path / "cityscapes"),
            split="train",
            space="cityscapes_16",
        )
    )
    found = files.write(tmp_path / "p", sixteen, some_labels(16), origin=ORIGIN)
    assert found.class_names == CITYSCAPES_16.class_names
    np.testing.assert_array_equal(found.read_label(2), some_labels(16)[2])
    with pytest.raises(
        DataError, match=r"aachen_0_3_leftImg8bit.png: pseudo-labels \[16\]; expected 0..15 and 255"
    ):
        files.write(tmp_path / "q", sixteen, [np.full(HW, 16)], origin=ORIGIN)


def test_the_png_files_have_the_colours_of_the_classes(target, tmp_path):
    files.write(
        tmp_path / "p", target, [np.full(HW, value) for value in (13, 0, IGNORED)], origin=ORIGIN
    )
    for name, color in (
        ("aachen_0_3", (0, 0, 142)),
        ("aachen_0_9", (128, 64, 128)),
        ("ulm_1_2", (0, 0, 0)),
    ):
        with Image.open(tmp_path / "p/labels" / f"{name}_leftImg8bit.png") as image:
            assert image.mode == "P" and image.convert("RGB").getpixel((1, 1)) == color


def test_with_its_images_beside_them_the_folder_is_a_data_set_of_its_own(target, tmp_path):
    files.write(tmp_path / "p", target, some_labels(), origin=ORIGIN)
    (tmp_path / "p/images").mkdir()
    for path in target.image_paths:
        (tmp_path / "p/images" / path.rsplit("/", 1)[1]).symlink_to(path)
    own = read_domain(dict(dataset="own", root=str(tmp_path / "p"), classes="classes.csv"))
    assert own.class_names == CITYSCAPES.class_names
    np.testing.assert_array_equal(own.space.palette, CITYSCAPES.palette)
    for i, label in enumerate(some_labels()):
        np.testing.assert_array_equal(own.read_label(i), label)


def test_a_killed_writer_leaves_nothing_and_the_next_one_begins_anew(target, tmp_path):
    root = tmp_path / "p"

    def killed():
        yield from some_labels()[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write(root, target, killed(), origin=ORIGIN)
    assert not root.exists() and not files.is_finished(root, target, origin=ORIGIN)
    with pytest.raises(DataError, match="p: no pseudo-labels; run the stage that makes them first"):
        files.read(root, target, origin=ORIGIN)
    (tmp_path / ".p.unfinished/labels/stale.png").write_bytes(b"")
    files.write(root, target, some_labels(), origin=ORIGIN)
    assert (
        files.is_finished(root, target, origin=ORIGIN)
        and len(list((root / "labels").iterdir())) == 3
    )
    assert not (tmp_path / ".p.unfinished").exists()


def test_labels_come_one_by_one(target, tmp_path):
    """Memory stays that of one label: the next is asked for when the last is on disk."""

    def lazily():
        for i, label in enumerate(some_labels()):
            assert len(list((tmp_path / ".p.unfinished/labels").iterdir())) == i
            yield label

    files.write(tmp_path / "p", target, lazily(), origin=ORIGIN)


@pytest.mark.parametrize(
    "labels, message",
    [
        (some_labels()[:2], "cityscapes/train: 2 pseudo-labels for 3 images; expected one each"),
        (
            itertools.repeat(np.zeros(HW, int)),
            "cityscapes/train: more pseudo-labels than its 3 images",
        ),
        (
            [np.zeros((2, 3), int)],
            (
                r"aachen_0_3_leftImg8bit.png: a pseudo-label of shape \(2, 3\) for an image of \(4,"
                r" 6\); resize the logits"
            ),
        ),
        ([np.full(HW, 19)], r"pseudo-labels \[19\]; expected 0..18 and 255"),
        ([np.full(HW, -1)], r"pseudo-labels \[-1\]; expected"),
    ],
)
def test_labels_that_do_not_fit_are_refused_and_leave_nothing(target, tmp_path, labels, message):
    with pytest.raises(DataError, match=message) as caught:
        files.write(tmp_path / "p", target, labels, origin=ORIGIN)
    assert not (tmp_path / "p").exists() and "\n" not in str(caught.value)


def test_other_pseudo_labels_than_asked_for_are_named(target, tmp_path):
    root = tmp_path / "p"
    files.write(root, target, some_labels(), origin=ORIGIN)
    with pytest.raises(
        DataError,
        match=(
            r"p: other pseudo-labels \(origin .*20000.* instead of .*30000.*\); choose another"
            r" folder"
        ),
    ):
        files.is_finished(root, target, origin=ORIGIN | {"checkpoint": "spcl/30000"})
    fewer = read_domain(
        dict(
            dataset="cityscapes",
            root=str(tmp_path / "cityscapes"),
            split="train",
            space="cityscapes_16",
        )
    )
    with pytest.raises(DataError, match="classes"):
        files.read(root, fewer, origin=ORIGIN)
    with pytest.raises(DataError, match="p: holds files already"):
        files.write(root, target, some_labels(), origin=ORIGIN)
    (root / files.MARKER).write_text("{")
    with pytest.raises(DataError, match="pseudo_labels.json: cannot be read"):
        files.is_finished(root, target, origin=ORIGIN)
    (root / files.MARKER).unlink()
    with pytest.raises(DataError, match="holds files, but no pseudo_labels.json"):
        files.is_finished(root, target, origin=ORIGIN)


def test_a_file_that_is_gone_or_broken_is_named(target, tmp_path):
    found = files.write(tmp_path / "p", target, some_labels(), origin=ORIGIN)
    Image.fromarray(np.full(HW, 33, np.uint8)).save(found.label_paths[0])
    with pytest.raises(
        DataError,
        match=(
            r"id 33 \(24 pixels\) is no id of cityscapes \(train ids\); expected train ids 0..18"
            r" and 255: remove"
        ),
    ):
        found.read_label(0)
    (tmp_path / "p/labels/ulm_1_2_leftImg8bit.png").unlink()
    with pytest.raises(DataError, match="ulm_1_2_leftImg8bit.png: this pseudo-label is gone"):
        files.read(tmp_path / "p", target, origin=ORIGIN)


def test_a_folder_that_cannot_be_written_is_named(target, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file/p: cannot write the pseudo-labels there"):
        files.write(tmp_path / "file/p", target, some_labels(), origin=ORIGIN)


def test_images_of_one_name_in_two_folders_keep_their_folders_and_in_one_are_refused(tmp_path):
    seg_files.write_cityscapes(tmp_path, {"ulm/a": None, "aachen/a": None})
    both = read_domain(
        dict(dataset="cityscapes", root=str(tmp_path), split="train", space="cityscapes")
    )
    made = files.write(tmp_path / "p", both, some_labels()[:2], origin=ORIGIN)
    expected = [str(tmp_path / f"p/labels/{city}/a_leftImg8bit.png") for city in ("aachen", "ulm")]
    assert list(made.label_paths) == expected and len(made) == 2
    paths = ("/x/a.png", "/x/a.jpg")
    with pytest.raises(DataError, match="two images would share the pseudo-label a.png; rename"):
        files.check_names(dataclasses.replace(both, image_paths=paths))


def test_the_space_of_train_ids_maps_every_id_to_itself():
    space = train_id_space(CITYSCAPES)
    assert (space.lut[:19] == np.arange(19)).all() and (space.lut[19:] == IGNORED).all()
    assert set(np.flatnonzero(space.is_known)) == {*range(19), IGNORED}
    assert train_id_space(space).class_names == CITYSCAPES.class_names
    assert json.dumps(space.classes)


@pytest.mark.parametrize(
    "damage, says",
    [
        (lambda path: path.unlink(), "this pseudo-label is gone"),
        (lambda path: path.write_bytes(b""), "this pseudo-label is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "this pseudo-label is damaged"),
        (lambda path: path.write_bytes(bytes(200)), "this pseudo-label is damaged"),
    ],
    ids=["gone", "emptied", "cut", "zeroed"],
)
def test_a_damaged_label_is_found_before_it_is_decoded(target, tmp_path, damage, says):
    made = files.write(tmp_path / "p", target, some_labels(), origin=ORIGIN)
    assert files.problem(tmp_path / "p", target, origin=ORIGIN) is None
    path = pathlib.Path(made.label_paths[1])
    damage(path)
    assert files.problem(tmp_path / "p", target) == f"{path}: {says}"
    files.discard(tmp_path / "p")
    assert files.problem(tmp_path / "p", target) == f"{tmp_path / 'p'}: no pseudo-labels"


def test_others_and_a_damaged_record_are_problems_and_other_folders_are_left_alone(
    target, tmp_path
):
    files.write(tmp_path / "p", target, some_labels(), origin=ORIGIN)
    other = files.problem(tmp_path / "p", target, origin=ORIGIN | {"rule": "another"})
    assert "other pseudo-labels (origin" in other
    (tmp_path / "p" / files.MARKER).write_text("{")
    assert "pseudo_labels.json: cannot be read" in files.problem(tmp_path / "p", target)
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "mine").write_text("")
    files.discard(tmp_path / "q")
    assert (tmp_path / "q" / "mine").exists()
    assert "it is no folder of pseudo-labels" in files.problem(tmp_path / "q", target)
