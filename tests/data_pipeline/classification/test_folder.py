"""Image sets and the reader of class folders."""

import types

import numpy as np
import pytest
from photo_files import write_images
from PIL import Image

from data_pipeline import DataError, ImageSet, load_domains
from data_pipeline.classification.folder import read_domains, read_folder
from data_pipeline.decode import decode_image, read_image


@pytest.fixture
def root(tmp_path):
    """Domain a in Office-31's layout with an `images` folder, domain b without; both have classes
    mug and pen.
    """
    write_images(
        tmp_path,
        "a/images/mug/2.jpg",
        "a/images/mug/1.JPG",
        "a/images/pen/x.png",
        "b/mug/3.bmp",
        "b/pen/4.jpeg",
    )
    (tmp_path / "a/images/mug/notes.txt").write_text("not an image")
    (tmp_path / "a/images/mug/.hidden.jpg").write_text("not an image either")
    return tmp_path


def test_class_folders_become_labels_in_sorted_order(root):
    image_set = read_folder(root, "a")
    assert image_set.class_names == ("mug", "pen")
    assert [path.rsplit("/", 1)[1] for path in image_set.paths] == ["1.JPG", "2.jpg", "x.png"]
    np.testing.assert_array_equal(image_set.labels, [0, 0, 1])
    np.testing.assert_array_equal(image_set.class_counts(), [2, 1])


def test_category_txt_decides_the_class_ids(root):
    (root / "category.txt").write_text("pen\nmug\n")
    (source,), target = read_domains(root, ("a",), "b")
    assert source.class_names == target.class_names == ("pen", "mug")
    np.testing.assert_array_equal(source.labels, [0, 1, 1])
    np.testing.assert_array_equal(target.labels, [0, 1])


def test_images_without_class_folders_are_an_unlabelled_set(root):
    write_images(root, "c/1.png", "c/2.png")
    (source,), target = read_domains(root, ("a",), "c")
    assert target.labels is None and len(target) == 2 and target.class_names == ("mug", "pen")
    with pytest.raises(DataError, match="source domain 'c' needs class folders"):
        read_domains(root, ("c",), "a")


def test_a_config_names_root_and_domains(root):
    (source,), target, _ = load_domains(
        types.SimpleNamespace(dataset="folder", root=str(root), source="a", target="b")
    )
    assert (source.name, len(source), target.name, len(target)) == ("a", 3, "b", 2)


@pytest.mark.parametrize(
    "prepare, domain, message",
    [
        (lambda root: None, "d", "no domain 'd'; domains there: a, b"),
        (lambda root: (root / "e").mkdir(), "e", "no class folders and no images"),
        (lambda root: (root / "b/ruler").mkdir(), "b", "class 'ruler' has no image"),
        (
            lambda root: (root / "category.txt").write_text("mug\n"),
            "b",
            "class folder 'pen' is not in .*category.txt",
        ),
        (
            lambda root: (root / "category.txt").write_text("mug\npen\ncup\n"),
            "b",
            "no folder for class 'cup', which is in .*category.txt",
        ),
        (
            lambda root: (root / "category.txt").write_text("mug\npen\nmug\n"),
            "b",
            "line 3 is 'mug'",
        ),
        (
            lambda root: write_images(root, "b/stray.png"),
            "b",
            "stray.png: an image beside class folders",
        ),
    ],
)
def test_a_wrong_folder_is_named_in_one_line(root, prepare, domain, message):
    prepare(root)
    with pytest.raises(DataError, match=message) as caught:
        read_folder(root, domain)
    assert "\n" not in str(caught.value)


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder; set config.data.root"):
        read_folder(tmp_path / "nowhere", "a")


def test_a_class_of_one_domain_only_is_refused(root):
    write_images(root, "b/ruler/1.png")
    with pytest.raises(DataError, match="class 'ruler' is in domain 'b' and not in 'a'"):
        read_domains(root, ("a",), "b")


def test_a_truncated_a_fake_and_a_missing_image_are_named(root):
    paths = read_folder(root, "a").paths
    whole = open(paths[1], "rb").read()
    open(paths[1], "wb").write(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="2.jpg: cannot be decoded: (?i:.*truncated)"):
        read_image(paths[1])
    open(paths[0], "w").write("text")
    with pytest.raises(DataError, match="1.JPG: cannot be decoded"):
        read_image(paths[0])
    with pytest.raises(DataError, match="0.jpg: no such file; unpack the download again"):
        read_image(str(root / "a/images/mug/0.jpg"))


def test_encoded_bytes_are_read_as_a_file_is(root):
    path = read_folder(root, "a").paths[0]
    encoded = open(path, "rb").read()
    np.testing.assert_array_equal(decode_image(encoded, "x[3]"), read_image(path))
    with pytest.raises(DataError, match=r"x\[3\]: cannot be decoded: (?i:.*truncated)"):
        decode_image(encoded[: len(encoded) // 2], "x[3]")
    with pytest.raises(
        DataError,
        match=(
            r"x\[3\]: cannot be decoded: no image format that dajax reads; expected JPEG, PNG, BMP"
        ),
    ):
        decode_image(b"text", "x[3]")


def test_a_grey_image_is_read_as_rgb(tmp_path):
    for ending in ("png", "bmp", "jpg"):
        Image.new("L", (5, 4), 77).save(tmp_path / f"grey.{ending}")
        image = read_image(str(tmp_path / f"grey.{ending}"))
        assert image.shape == (4, 5, 3) and (image == 77).all()


def test_a_label_outside_the_classes_is_named_with_its_image():
    with pytest.raises(DataError, match="two.png: label 2 is not one of the 2 classes"):
        ImageSet(
            "x",
            ("a", "b"),
            np.array([0, 2, 3], np.int32),
            paths=("one.png", "two.png", "three.png"),
        )
    with pytest.raises(DataError, match=r"x\[0\]: label -1"):
        ImageSet("x", ("a", "b"), np.array([-1], np.int32), images=np.zeros((1, 4, 4, 1), np.uint8))


def test_an_image_set_of_wrong_arrays_is_refused():
    images = np.zeros((2, 4, 4, 1), np.uint8)
    with pytest.raises(DataError, match="x: nothing given; give one of images, paths, records"):
        ImageSet("x", ("a",))
    with pytest.raises(DataError, match="x: images and records given; give one"):
        ImageSet("x", ("a",), images=images, records=(b"1", b"2"))
    with pytest.raises(DataError, match="expected uint8"):
        ImageSet("x", ("a",), images=images.astype(np.float32))
    with pytest.raises(DataError, match=r"expected int32 \[2\]"):
        ImageSet("x", ("a",), np.zeros(3, np.int32), images=images)


def test_without_labels_nothing_of_the_labels_is_left():
    image_set = ImageSet(
        "x", ("a",), np.zeros(2, np.int32), images=np.zeros((2, 4, 4, 1), np.uint8)
    ).without_labels()
    assert image_set.labels is None
    with pytest.raises(DataError, match="without labels"):
        image_set.class_counts()
