"""What a listing leaves out is counted and named, whatever the reason."""

import os
import socket
import types

import numpy as np
import photo_files
import pytest
import seg_files

from data_pipeline import DataError, load_domains
from data_pipeline.check.check_data import check
from data_pipeline.check.file_checks import broken, broken_files
from data_pipeline.classification.folder import read_folder
from data_pipeline.classification.image_set import merged
from data_pipeline.classification.list_files import left_out_of
from data_pipeline.files.folder_scan import describe, gathered, scan, what_is_there
from data_pipeline.segmentation.readers import read_domain

IDS = np.array([[7, 8, 11, 0], [23, 26, 33, 3]])
ENDINGS = ".jpg, .jpeg, .png, .bmp"


def litter(folder, ending=".jpg"):
    """One of each thing that is no image of the set; {why: its name}."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (f".hidden{ending}", ".DS_Store", "scan.tif", "notes.txt", "README"):
        (folder / name).write_bytes(b"x")
    (folder / f"folder{ending}").mkdir()
    (folder / f"folder{ending}" / f"inside{ending}").write_bytes(b"x")
    os.mkfifo(folder / f"pipe{ending}")
    return {
        "hidden": [".DS_Store", f".hidden{ending}"],
        "end in .tif": ["scan.tif"],
        "end in .txt": ["notes.txt"],
        "without an ending": ["README"],
        "that are folders": [f"folder{ending}"],
        "pipes, sockets or devices": [f"pipe{ending}"],
    }


def assert_named(lines, folder, expected):
    """A line for each reason, with the number and the names, and none besides."""
    found = [line.strip() for line in lines if "not used: " in line]
    assert len(found) == len(expected), found
    for why, names in expected.items():
        (line,) = (line for line in found if why in line)
        assert f"not used: {len(names)} " in line, line
        assert line.endswith(": " + ", ".join(str(folder / name) for name in names)), line


def report(*domains):
    lines, is_ok = check(domains, lambda done, total: None)
    return lines, is_ok


def test_litter_in_a_class_folder_is_named(tmp_path):
    photo_files.write_images(tmp_path, "a/mug/1.jpg")
    expected = litter(tmp_path / "a/mug")
    images = read_folder(tmp_path, "a")
    assert [os.path.basename(path) for path in images.paths] == ["1.jpg"]
    assert_named(describe(left_out_of(images)), tmp_path / "a/mug", expected)
    lines, is_ok = report(("source", images))
    assert is_ok and lines[-1] == "  nothing wrong"
    assert_named(lines, tmp_path / "a/mug", expected)
    assert left_out_of(merged([images, images])) == images.left_out, "counted once"


def test_what_lies_beside_class_folders_and_beside_images_is_named(tmp_path):
    photo_files.write_images(
        tmp_path, "a/images/mug/1.jpg", "a/old/mug/2.jpg", "a/3.jpg", "a/images/.trash/4.jpg"
    )
    (tmp_path / "a/images/list.txt").write_text("x")
    lines = describe(left_out_of(read_folder(tmp_path, "a")))
    assert lines == [
        (
            f"not used: 2 beside the folder 'images', which is read: {tmp_path}/a/3.jpg, "
            f"{tmp_path}/a/old"
        ),
        f"not used: 1 hidden: {tmp_path}/a/images/.trash",
        f"not used: 1 that end in .txt, read are {ENDINGS}: {tmp_path}/a/images/list.txt",
    ]


def test_litter_beside_unlabelled_images_is_named(tmp_path):
    photo_files.write_images(tmp_path, "a/1.jpg")
    (tmp_path / "a/1.webp").write_text("x")
    images = read_folder(tmp_path, "a")
    assert images.labels is None and describe(images.left_out) == [
        f"not used: 1 that end in .webp, read are {ENDINGS}: {tmp_path}/a/1.webp"
    ]


def test_many_of_a_kind_are_counted_and_the_first_are_named(tmp_path):
    photo_files.write_images(tmp_path, "a/mug/1.jpg")
    for i in range(5):
        (tmp_path / f"a/mug/{i}.gif").write_text("x")
    (line,) = describe(read_folder(tmp_path, "a").left_out)
    names = ", ".join(f"{tmp_path}/a/mug/{i}.gif" for i in range(3))
    assert line == f"not used: 5 that end in .gif, read are {ENDINGS}: {names} and 2 more"
    assert gathered(read_folder(tmp_path, "a").left_out * 2) == read_folder(tmp_path, "a").left_out


def opened(dataset, root, source, target):
    splits = dict(source_split="train", target_split="train", evaluation_split="test")
    return load_domains(
        types.SimpleNamespace(
            dataset=dataset, root=str(root), source=source, target=target, **splits
        )
    )


def test_what_no_list_names_and_litter_below_lists_are_named(tmp_path):
    photo_files.write_visda2017(tmp_path)
    photo_files.write_images(tmp_path / "train", "bus/extra.png", "deep/er/still.png")
    (tmp_path / "train/bus/notes.txt").write_text("x")
    (tmp_path / "train/bus/.hidden.png").write_text("x")
    lines = describe(left_out_of(opened("visda2017", tmp_path, "train", "validation").sources[0]))
    assert sorted(lines) == sorted(
        [
            (
                f"not used: 2 images below {tmp_path}/train that no list names: "
                f"{tmp_path}/train/bus/extra.png, {tmp_path}/train/deep/er/still.png"
            ),
            f"not used: 1 hidden: {tmp_path}/train/bus/.hidden.png",
            f"not used: 1 that end in .txt, read are {ENDINGS}: {tmp_path}/train/bus/notes.txt",
        ]
    ), "the list itself is used"
    photo_files.write_list(tmp_path / "train/image_list.txt", "bus/.hidden.png 2")
    assert not [
        line
        for line in describe(
            left_out_of(opened("visda2017", tmp_path, "train", "validation").sources[0])
        )
        if "hidden" in line
    ]


def test_links_in_a_circle_end(tmp_path):
    photo_files.write_visda2017(tmp_path)
    (tmp_path / "train/bus/back").symlink_to(tmp_path / "train")
    (tmp_path / "train/bus/self.png").symlink_to(tmp_path / "train/bus/self.png")
    (line,) = describe(left_out_of(opened("visda2017", tmp_path, "train", "validation").sources[0]))
    assert (
        line == f"not used: 1 images below {tmp_path}/train that no list names: "
        f"{tmp_path}/train/bus/self.png"
    )
    photo_files.write_images(tmp_path, "a/mug/1.jpg")
    (tmp_path / "a/mug/self.jpg").symlink_to(tmp_path / "a/mug/self.jpg")
    assert (
        "a/mug/self.jpg: cannot be opened: Too many levels"
        in broken_files(read_folder(tmp_path, "a").paths)[0]
    )


def test_litter_in_visda2017s_test_folders_is_named(tmp_path):
    photo_files.write_visda2017(tmp_path, lists=False)
    photo_files.write_images(tmp_path / "test", "loose.jpg")
    (tmp_path / "test/trunk00/x.txt").write_text("x")
    lines = describe(opened("visda2017", tmp_path, "train", "test").target.left_out)
    assert [line.rsplit(": ", 1)[1] for line in lines] == [
        f"{tmp_path}/test/loose.jpg",
        f"{tmp_path}/test/trunk00/x.txt",
    ]


@pytest.mark.parametrize("part", ["images", "labels"])
def test_litter_beside_frames_and_their_labels_is_named(tmp_path, part):
    seg_files.write_gta5(tmp_path, {"1": IDS})
    expected = litter(tmp_path / part, ".png")
    config = dict(dataset="scenes_source", root=str(tmp_path))
    images = read_domain(config)
    assert len(images) == 1
    assert_named(describe(images.left_out), tmp_path / part, expected)
    lines, is_ok = report(("source", config))
    assert is_ok, lines
    assert_named(lines, tmp_path / part, expected)


@pytest.mark.parametrize("part", ["leftImg8bit", "gtFine"])
def test_litter_among_cityscapes_frames_is_named_but_for_the_official_companions(tmp_path, part):
    seg_files.write_cityscapes(tmp_path, {"ulm/ulm_1": IDS})
    for ending in ("color.png", "instanceIds.png", "polygons.json", "labelTrainIds.png"):
        (tmp_path / f"gtFine/train/ulm/ulm_1_gtFine_{ending}").write_text("x")
    config = dict(dataset="scenes_target", root=str(tmp_path), split="train")
    assert read_domain(config).left_out == ()
    city = tmp_path / part / "train/ulm"
    for name in ("ulm_2.png", ".ulm_3_leftImg8bit.png", "ulm_1_leftImg8bit.jpg"):
        (city / name).write_text("x")
    (city / "more").mkdir()
    (city.parent / "notes.txt").write_text("x")
    ending = {"leftImg8bit": "_leftImg8bit.png", "gtFine": "_gtFine_labelIds.png"}[part]
    assert describe(read_domain(config).left_out) == [
        f"not used: 1 beside the folders of the cities: {city.parent}/notes.txt",
        f"not used: 1 hidden: {city}/.ulm_3_leftImg8bit.png",
        f"not used: 1 that are folders; files below them are not read: {city}/more",
        f"not used: 2 that do not end in {ending}: {city}/ulm_1_leftImg8bit.jpg, {city}/ulm_2.png",
    ]


@pytest.mark.parametrize(
    "read, where",
    [
        (lambda root: read_folder(root, "a"), "a/mug"),
        (lambda root: read_folder(root, "a"), "a"),
        (lambda root: read_domain(dict(dataset="gta5", root=str(root))), "images"),
        (lambda root: read_domain(dict(dataset="gta5", root=str(root))), "labels"),
        (lambda root: read_domain(dict(dataset="synthia", root=str(root), space="synthia")), "RGB"),
        (
            lambda root: read_domain(
                dict(dataset="cityscapes", root=str(root), split="train", space="cityscapes")
            ),
            "leftImg8bit/train",
        ),
    ],
)
def test_where_only_tif_is_present_the_line_says_so(tmp_path, read, where):
    if where == "labels":
        seg_files.write_image(tmp_path / "images/1.png")
    (tmp_path / where).mkdir(parents=True)
    (tmp_path / where / "1.tif").write_text("x")
    with pytest.raises(
        DataError,
        match=r"there: 1.tif \(pictures of a kind that is not read: convert them to PNG\)",
    ) as caught:
        read(tmp_path)
    assert str(caught.value).isprintable()
    assert what_is_there(tmp_path / "nowhere") == "nothing"


def test_a_file_that_cannot_be_read_is_said_to_be_broken_and_why(tmp_path, monkeypatch):
    photo_files.write_images(tmp_path, "1.jpg")
    assert broken(str(tmp_path / "1.jpg")) is None
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "unmounted/x.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as one:
        monkeypatch.chdir(tmp_path)
        one.bind("socket.jpg")
    for name, says in {
        "gone.jpg": f"a link to {tmp_path}/unmounted/x.jpg, where nothing is",
        "loop.jpg": "cannot be opened: Too many levels",
        "empty.jpg": "the file is empty",
        "folder.jpg": "a folder, expected an image file",
        "pipe.jpg": "a pipe, a socket or a device",
        "socket.jpg": "a pipe, a socket or a device",
        "2.jpg": "no such file; unpack the download again",
        "1.JPG": "no such file (there is '1.jpg': another case); unpack",
    }.items():
        line = broken(str(tmp_path / name))
        assert line.startswith(f"{tmp_path}/{name}: ") and says in line, line
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # a superuser may read everything
    assert "no permission to read it" in broken(str(tmp_path / "1.jpg"))
    paths = [str(tmp_path / "1.jpg"), str(tmp_path / "empty.jpg")] * 400
    assert broken_files(paths) == [broken(path) for path in paths], (
        "in order, from a pool of threads too"
    )


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_bytes(b""), lambda path: (path.unlink(), path.symlink_to("nowhere"))],
)
def test_an_empty_file_and_a_dangling_link_are_findings_and_not_passed_over(tmp_path, spoil):
    photo_files.write_images(tmp_path, "a/mug/1.jpg", "a/mug/2.jpg")
    spoil(tmp_path / "a/mug/2.jpg")
    images = read_folder(tmp_path, "a")
    assert len(images) == 2 and broken_files(images.paths)
    lines, is_ok = report(("source", images))
    assert not is_ok and any("a/mug/2.jpg: " in line for line in lines)
    seg_files.write_gta5(tmp_path, {"1": IDS, "2": IDS})
    for part in ("images", "labels"):
        seg_files.write_gta5(tmp_path, {"2": IDS})
        spoil(tmp_path / part / "2.png")
        lines, is_ok = report(("source", dict(dataset="scenes_source", root=str(tmp_path))))
        assert not is_ok and any(f"{part}/2.png: " in line for line in lines)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        DataError, match="cannot be listed: Permission denied; make the folder readable"
    ):
        scan(tmp_path, (".jpg",))
