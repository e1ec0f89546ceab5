"""Own folders: subfolders, and the patterns that pair an image with its label."""

import pytest
import seg_files

from data_pipeline.errors import DataError
from data_pipeline.segmentation.readers import read_domain

ROWS = ("0,void,255,0,0,0", "1,road,0,9,9,9")


def write(root, *images, labels=()):
    seg_files.write_classes(root, *ROWS)
    for name in images:
        seg_files.write_image(root / "images" / name, (2, 2))
    for name in labels:
        seg_files.write_ids(root / "labels" / name, [[0, 1], [1, 1]])


def read(root, **patterns):
    return read_domain(seg_files.own(root, **patterns))


def below(root, paths):
    return [path.removeprefix(f"{root}/") for path in paths]


def test_images_in_subfolders_have_their_labels_in_the_same(tmp_path):
    write(tmp_path, "b/x.png", "a/c/x10.jpg", "a/c/x2.jpg", "y.bmp")
    assert not (unlabelled := read(tmp_path)).has_labels
    write(tmp_path, labels=("b/x.png", "a/c/x10.png", "a/c/x2.png", "y.png"))
    found = read(tmp_path)
    assert unlabelled.image_paths == found.image_paths
    assert below(tmp_path, found.image_paths) == [
        "images/a/c/x2.jpg",
        "images/a/c/x10.jpg",
        "images/b/x.png",
        "images/y.bmp",
    ]
    assert below(tmp_path, found.label_paths) == [
        "labels/a/c/x2.png",
        "labels/a/c/x10.png",
        "labels/b/x.png",
        "labels/y.png",
    ]


def test_a_folder_that_links_to_itself_is_read_once(tmp_path):
    write(tmp_path, "a/x.png")
    (tmp_path / "images/a/again").symlink_to(tmp_path / "images")
    assert below(tmp_path, read(tmp_path).image_paths) == ["images/a/x.png"]


@pytest.mark.parametrize(
    "image, label, patterns",
    [
        ("x.png", "x_L.png", dict(label_name="NAME_L.png")),
        ("x.jpg", "x_L.png", dict(image_name="NAME", label_name="NAME_L")),
        (
            "u/x_leftImg8bit.png",
            "u/x_labelIds.png",
            dict(image_name="NAME_leftImg8bit.png", label_name="NAME_labelIds.png"),
        ),
        ("rgb-x.png", "gt-x-ids.png", dict(image_name="rgb-NAME", label_name="gt-NAME-ids.png")),
    ],
)
def test_a_pattern_pairs_an_image_with_its_label(image, label, patterns, tmp_path):
    write(tmp_path, image, labels=(label,))
    found = read(tmp_path, **patterns)
    assert below(tmp_path, found.image_paths) == [f"images/{image}"]
    assert below(tmp_path, found.label_paths) == [f"labels/{label}"]


def test_files_of_another_name_are_counted_and_not_read(tmp_path):
    write(tmp_path, "x_left.png", "x_right.png", labels=("x.png",))
    found = read(tmp_path, image_name="NAME_left")
    assert len(found) == 1
    (left_out,) = found.left_out
    assert left_out.paths == (str(tmp_path / "images/x_right.png"),)
    assert "that are not named NAME_left" in left_out.why


def test_labels_that_are_named_otherwise_are_answered_with_the_pattern(tmp_path):
    write(tmp_path, "x.png", "y.png", labels=("x_L.png", "y_L.png"))
    with pytest.raises(DataError, match="none of the 2 labels has the name of an image") as error:
        read(tmp_path)
    assert "label_name=NAME_L.png" in str(error.value) and "\n" not in str(error.value)


def test_a_label_that_lacks_is_named_with_its_folder(tmp_path):
    write(tmp_path, "a/x.png", "b/x.png", labels=("a/x_L.png",))
    with pytest.raises(DataError, match="b/x.png: an image without label; expected .*b/x_L.png"):
        read(tmp_path, label_name="NAME_L.png")


@pytest.mark.parametrize("pattern", ["x.png", "NAMENAME", "a/NAME.png", "NAME_L.tif", ""])
def test_a_pattern_without_sense_is_named(pattern, tmp_path):
    write(tmp_path, "x.png")
    with pytest.raises(DataError, match="config.data.label_name is .* expected the name of a file"):
        read(tmp_path, label_name=pattern)
