"""Folders, lists and files as users have them: each gets its right reading, or the one line that
says what is the matter.
"""

import os
import unicodedata

import numpy as np
import photo_files
import pixel_files
import pytest
import seg_files
from PIL import Image

from data_pipeline import DataError
from data_pipeline.check.file_checks import broken
from data_pipeline.classification import domainnet, visda2017
from data_pipeline.classification.folder import read_domains, read_folder
from data_pipeline.classification.list_files import read_list
from data_pipeline.decode import decode_picture, read_image
from data_pipeline.files.folder_scan import scan
from data_pipeline.files.names import (
    data_root,
    is_file,
    is_folder,
    is_present,
    what_stands_at,
)
from data_pipeline.segmentation.class_csv import read_classes
from data_pipeline.segmentation.color_labels import read_ids_or_colors
from data_pipeline.segmentation.id_png import read_ids
from data_pipeline.segmentation.readers import read_domain
from data_pipeline.segmentation.segmentation_set import size_mismatch

IDS = np.array([[7] * 6, [23] * 6, [26] * 6, [24] * 6], np.uint8)
ROWS = ("0,road,0,128,64,128", "1,sky,1,70,130,180", "2,car,2,0,0,142", "9,void,255,0,0,0")


@pytest.fixture
def two_domains(tmp_path):
    photo_files.write_images(
        tmp_path, *(f"{domain}/{name}/1.jpg" for domain in ("a", "b") for name in ("bar", "row"))
    )
    return tmp_path


class _NoPermission:
    """os.stat that may not look at some paths; root, which tests run as, may look everywhere."""

    def __init__(self, *closed):
        self.closed, self.stat = tuple(map(str, closed)), os.stat

    def __call__(self, path, **options):
        if str(path).startswith(self.closed):
            raise PermissionError(13, "Permission denied", str(path))
        return self.stat(path, **options)


# Roots and folders.


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000], ids=["name", "path"])
def test_a_name_that_is_too_long_is_one_line(two_domains, name):
    for function in (data_root, is_folder, is_file, lambda path: read_folder(two_domains, path)):
        with pytest.raises(
            DataError, match="cannot be looked at: File name too long; .*correct the path"
        ):
            function(
                name
                if function is data_root
                else os.path.join(two_domains, name)
                if function in (is_folder, is_file)
                else name
            )


def test_a_folder_without_permission_is_not_called_missing(two_domains, monkeypatch):
    monkeypatch.setattr(os, "stat", _NoPermission(two_domains / "b"))
    with pytest.raises(
        DataError,
        match=(
            "b: cannot be looked at: Permission denied; make it and the folders above it readable"
        ),
    ):
        read_domains(two_domains, ["a"], "b")


def test_what_stands_in_a_domains_or_a_classs_place_is_said(two_domains):
    (two_domains / "b/row/1.jpg").unlink()
    (two_domains / "b/row").rmdir()
    (two_domains / "b/row").symlink_to("nowhere")
    with pytest.raises(
        DataError,
        match=(
            "class 'row' is in domain 'a' and not in 'b' .*b/row is a link to nowhere, where "
            "nothing is"
        ),
    ):
        read_domains(two_domains, ["a"], "b")
    left_out = {part.why: part.paths for part in scan(two_domains / "b", (".jpg",)).left_out}
    assert left_out == {
        "that are links to nothing, or to where you may not look": (str(two_domains / "b/row"),)
    }
    (two_domains / "c").write_text("")
    with pytest.raises(
        DataError, match="no domain 'c' .*/c is a file.*; domains there: a, b; correct config.data"
    ):
        read_domains(two_domains, ["a"], "c")
    (two_domains / "d").symlink_to("d")
    assert (
        "cannot be followed" in what_stands_at(two_domains / "d")
        and what_stands_at(two_domains / "none") == ""
    )


@pytest.mark.parametrize("other", ["bar\u200f", "\u202ebar", "b\u200bar"])
def test_a_class_that_differs_by_an_invisible_letter_is_hinted_at(two_domains, other):
    (two_domains / "b/bar").rename(two_domains / "b" / other)
    with pytest.raises(
        DataError, match="is in domain .* and not in .* \\(there is .*letters that look alike"
    ):
        read_domains(two_domains, ["a"], "b")


# What may be left out, so that a slip in its name would change what is read without a word.


def _file(path):
    path.write_text("x\n")


def _folder(path):
    path.mkdir()


def _dead_link(path):
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    "make, name, says",
    [
        (_file, "Category.txt", "is not read under this name; rename it to category.txt"),
        (_file, "category.txt ", "is not read under this name"),
        (_folder, "category.txt", "is a folder, expected a file"),
        (_dead_link, "category.txt", "is a link to nowhere, where nothing is, expected a"),
    ],
)
def test_a_file_that_decides_is_never_passed_over(two_domains, make, name, says):
    make(two_domains / name)
    with pytest.raises(DataError, match=f"{name}: {says}"):
        read_domains(two_domains, ["a"], "b")


def test_hidden_files_are_no_slip(tmp_path):
    (tmp_path / "._category.txt").write_text("")  # macOS writes such beside every file
    assert not is_present(tmp_path, "category.txt")


@pytest.mark.parametrize(
    "make, name",
    [(_file, "Image_List.txt"), (_dead_link, "image_list.txt"), (_folder, "image_list.txt")],
)
def test_visdas_list_is_never_passed_over(tmp_path, make, name):
    """Without it the test set would be read as unlabelled."""
    photo_files.write_visda2017(tmp_path)
    (tmp_path / "test/image_list.txt").unlink()
    make(tmp_path / "test" / name)
    with pytest.raises(DataError, match=f"test/{name}: is "):
        visda2017.read_domains(tmp_path, ["train"], "test")


def test_domainnets_list_is_named_where_its_name_has_a_slip(tmp_path):
    photo_files.write_domainnet(tmp_path)
    (tmp_path / "real_train.txt").rename(tmp_path / "real" / "Real_train.txt")
    with pytest.raises(
        DataError,
        match="real/Real_train.txt: is not read under this name; rename it to real_train.txt",
    ):
        domainnet.read_domains(
            tmp_path,
            ["clipart"],
            "real",
            source_split="train",
            target_split="train",
            evaluation_split="test",
        )


@pytest.mark.parametrize(
    "make, name, says",
    [
        (lambda path: None, "Labels", "is not read under this name; rename it to labels"),
        (_file, "labels", "is a file, expected a folder"),
        (_dead_link, "labels", "is a link to nowhere, where nothing is, expected a folder"),
    ],
)
def test_no_slip_in_the_folder_of_labels_makes_a_set_unlabelled(tmp_path, make, name, says):
    seg_files.write_gta5(tmp_path, {"00001": IDS})
    (tmp_path / "labels").rename(tmp_path / ("Labels" if name == "Labels" else "elsewhere"))
    make(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}: {says}"):
        read_domain({"dataset": "gta5", "root": str(tmp_path)})


def test_no_slip_in_cityscapes_folders_makes_a_split_unlabelled(tmp_path):
    config = {"dataset": "cityscapes", "root": str(tmp_path), "split": "val", "space": "cityscapes"}
    seg_files.write_cityscapes(tmp_path, {"ulm/1": IDS}, "val")
    assert read_domain(config | {"split": "val/"}).name == "cityscapes/val"
    (tmp_path / "gtFine/val").rename(tmp_path / "gtFine/Val")
    with pytest.raises(
        DataError, match="gtFine/Val: is not read under this name; rename it to val"
    ):
        read_domain(config)
    (tmp_path / "gtFine").rename(tmp_path / "gtfine")
    with pytest.raises(DataError, match="gtfine: is not read under this name; rename it to gtFine"):
        read_domain(config)


def test_a_csv_of_another_name_is_hinted_at(tmp_path):
    seg_files.write_classes(tmp_path, *ROWS).rename(tmp_path / "Classes.csv")
    with pytest.raises(
        DataError,
        match=(
            "classes.csv: cannot be read: No such file or directory .there is 'Classes.csv': "
            "another case"
        ),
    ):
        read_classes(tmp_path / "classes.csv")


def test_a_number_of_thousands_of_digits_is_no_number_in_range(tmp_path):
    seg_files.write_classes(tmp_path, *(row.replace("142", "9" * 5000) for row in ROWS))
    with pytest.raises(DataError, match="line 4: b is .* expected a whole number in 0..255"):
        read_classes(tmp_path / "classes.csv")
    (tmp_path / "list.txt").write_text(f"a/1.jpg 0\na/2.jpg 0\na/3.jpg {'9' * 5000}\n")
    with pytest.raises(
        DataError, match="line 3 is 'a/3.jpg 9+'; expected '<path of an image> <class id>'"
    ):
        read_list(tmp_path / "list.txt")


@pytest.mark.parametrize("endings", [(".jpg",), (".png",)])
def test_a_copy_of_another_unicode_form_is_the_same_data_in_the_same_order(tmp_path, endings):
    """As a disk of a Mac makes it: "é" decomposed sorts before "f", composed after "z"."""
    names = [f"{word}{endings[0]}" for word in ("café", "cafz", "Zürich", "zz", "10é", "9é")]
    for form in ("NFC", "NFD"):
        for name in names:
            for folder in ("d/mug", "images", "labels"):
                path = tmp_path / form / folder / unicodedata.normalize(form, name)
                photo_files.write_images(path.parent, path.name)
        seg_files.write_classes(tmp_path / form, *ROWS)
    composed, decomposed = (read_folder(tmp_path / form, "d") for form in ("NFC", "NFD"))
    assert composed.fingerprint(2) == decomposed.fingerprint(2) and composed.fingerprint(
        1
    ) != decomposed.fingerprint(1)
    files = [[os.path.basename(path) for path in images.paths] for images in (composed, decomposed)]
    assert files[0] == [unicodedata.normalize("NFC", name) for name in files[1]] != files[1]
    if endings == (".png",):
        sets = [
            read_domain({"dataset": "own", "root": str(tmp_path / form), "classes": "classes.csv"})
            for form in ("NFC", "NFD")
        ]
        assert sets[0].fingerprint(2) == sets[1].fingerprint(2) and sets[0].fingerprint(1) != sets[
            1
        ].fingerprint(1)


# Lists.


@pytest.mark.parametrize(
    "text, says",
    [
        (
            "# my list\na/1.jpg 0\na/2.jpg 0\n",
            "line 1 is '# my list'; expected '<path of an image> <class id>', as in line 2",
        ),
        ("path label\na/1.jpg 0\na/2.jpg 0\n", "line 1 is 'path label'; expected '<path"),
        (
            "a/my 1\na/2.jpg\na/3.jpg\n",
            "line 1 is 'a/my 1'; expected a path without a class id, as in line 2",
        ),
        ("a/1.jpg 0\na/2.jpg -1\n", "line 2 has class id -1; expected 0 or more"),
        ("a/1.jpg -1\na/2.jpg -1\n", "line 1 has class id -1; expected 0 or more: .* unlabelled"),
        (
            "a\\1.jpg 0\n",
            r"line 1 names 'a\\\\1.jpg', with backslashes; expected '/' between folders",
        ),
        ("a/1.jpg 0\na/2.jpg 4000000000\n", "line 2 is 'a/2.jpg 4000000000'; expected '<path"),
    ],
)
def test_the_line_that_is_odd_is_the_one_that_is_blamed(tmp_path, text, says):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError, match=f"list.txt: {says}"):
        read_list(tmp_path / "list.txt")


def test_one_image_has_one_spelling_in_a_list(tmp_path):
    (tmp_path / "list.txt").write_text("a/1.jpg 0\n./a/1.jpg 0\na//1.jpg 0\n  a/./1.jpg\t0\n")
    assert read_list(tmp_path / "list.txt").entries == ["a/1.jpg"] * 4


def test_a_folder_of_another_case_is_hinted_at_for_a_file_below_it(tmp_path):
    photo_files.write_images(tmp_path, "bar/1.jpg")
    assert "Bar/1.jpg: no such file (there is 'bar': another case); unpack" in broken(
        str(tmp_path / "Bar/1.jpg")
    )


# Files.


@pytest.mark.parametrize(
    "channels, dtype, color_type",
    [(1, np.uint8, 0), (3, np.uint8, 2), (4, np.uint8, 6), (1, np.uint16, 0), (3, np.uint16, 2)],
)
def test_a_png_with_fewer_rows_than_its_header_says_is_refused(
    tmp_path, channels, dtype, color_type
):
    samples = np.full((8, 5, channels), np.iinfo(dtype).max, dtype)
    assert decode_picture(pixel_files.png(samples), "whole").pixels.shape == (8, 5, 3)
    short = pixel_files.png(samples, size=(5, 12), color_type=color_type)
    with pytest.raises(
        DataError,
        match=(
            "short: cannot be decoded: (it holds fewer rows of pixels than its header says|invalid "
            "or truncated PNG)"
        ),
    ):
        decode_picture(short, "short")
    (tmp_path / "short.png").write_bytes(short)

    def plain(data):
        raise ValueError("as TensorFlow does for this file")

    with pytest.raises(DataError, match="short.png: cannot be decoded: "):
        read_image(tmp_path / "short.png", plain_png=plain)
    if channels == 1:
        with pytest.raises(
            DataError,
            match=(
                "short.png: cannot be decoded: it holds fewer rows of pixels than its header says"
            ),
        ):
            read_ids(str(tmp_path / "short.png"))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_png_that_ends_in_zeros_is_whole(tmp_path, bits):
    samples = np.ones((6, 5, 1), np.uint8)
    samples[3:] = 0
    assert decode_picture(pixel_files.png(samples, bits=bits), "zeros").pixels[3:].max() == 0
    Image.fromarray(samples[..., 0]).save(tmp_path / "ids.png")
    np.testing.assert_array_equal(read_ids(str(tmp_path / "ids.png")), samples[..., 0])


@pytest.mark.parametrize(
    "data, says",
    [
        (pixel_files.png(np.ones((1, 1, 3), np.uint8), size=(0, 5)), "its header is broken"),
        (b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\xff\xff\xff\x0f\0\0\0\0\0\0\0\0", "."),
        (
            b"GIF89a\xff\xff\xff\xff\xf0\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x08\0;",
            f"it has more than {2**27:,} pixels|.*expected at most",
        ),
    ],
)
def test_a_header_that_cannot_be_is_said_in_plain_words(data, says):
    with pytest.raises(DataError, match=says) as caught:
        decode_picture(data, "x")
    assert "driver" not in str(caught.value) and "Bomb" not in str(caught.value)


def test_a_broken_file_of_sixteen_bits_is_said_without_tensorflows_words():
    data = pixel_files.png(pixel_files.noise(8, 8, 3, dtype=np.uint16))
    with pytest.raises(DataError, match="x: cannot be decoded: .*; prepare") as caught:
        decode_picture(data[:-40] + bytes(28) + data[-12:], "x")
    assert "function_node" not in str(caught.value)


def test_a_label_that_may_not_be_read_is_not_to_be_downloaded_again(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "x")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(
        DataError, match="x.png: cannot be read: Permission denied; make it readable"
    ):
        read_ids(str(tmp_path / "x.png"))


def test_exif_is_not_blamed_for_a_turned_label_of_an_image_without_any():
    assert (
        "where an image has an orientation in its EXIF, it is applied to the image alone"
        in size_mismatch((6, 4), (4, 6), 0)
    )


def test_a_palette_that_means_two_things_is_refused(tmp_path):
    """The indices are ids of the CSV and so are the colours, of other classes; further colours
    leave open which was meant.
    """
    space = read_classes(seg_files.write_classes(tmp_path, *ROWS))
    road = (128, 64, 128)
    sky = (70, 130, 180)
    car = (0, 0, 142)

    def read(indices, colors):
        seg_files.write_palette(tmp_path / "x.png", indices, colors)
        return read_ids_or_colors(str(tmp_path / "x.png"), space=space).tolist()

    with pytest.raises(
        DataError,
        match=(
            r"x.png: index 0 of its palette is the id of 'road' and has the colour of 'car', \(0, "
            r"0, 142\).* as RGB"
        ),
    ):
        read([[0, 1, 2]], [car, road, sky, (255, 0, 255)])
    assert read([[0, 1, 2]], [car, road, sky]) == [[2, 0, 1]]  # nothing but the CSV's colours
    assert read([[0, 1, 2]], [road, sky, car, (255, 0, 255)]) == [[0, 1, 2]]  # both say the same
    # grey: no colour of the CSV but black
    assert read([[0, 1, 2]], [(i, i, i) for i in range(9)]) == [[0, 1, 2]]
    assert read([[0, 0, 0]], [(i, i, i) for i in range(9)]) == [[0, 0, 0]]


def test_a_broken_palette_label_is_one_line(tmp_path):
    space = read_classes(seg_files.write_classes(tmp_path, *ROWS))
    seg_files.write_palette(
        tmp_path / "x.png",
        np.arange(1600).reshape(40, 40) % 3,
        [(128, 64, 128), (70, 130, 180), (0, 0, 142)],
    )
    seg_files.truncate(tmp_path / "x.png")
    with pytest.raises(DataError, match="x.png: cannot be decoded: ") as caught:
        read_ids_or_colors(str(tmp_path / "x.png"), space=space)
    assert str(caught.value).count("x.png") == 1
