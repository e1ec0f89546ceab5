"""--mode=check_data's report: everything that is wrong in one run, each in a line of its own."""

import time
import types

import numpy as np
import photo_files
import pytest
import seg_files

from data_pipeline import load_domains
from data_pipeline.check import check_data, check_images
from data_pipeline.check.check_data import check
from data_pipeline.check.official import (
    describe_missing,
    describe_other_count,
    official_count,
)
from data_pipeline.classification.folder import read_folder
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.errors import DataError

IDS = np.array([[7, 8, 11, 0], [23, 26, 33, 3], [7, 7, 21, 1]])
TRAIN_IDS = np.array([[0, 1, 2, 255], [10, 13, 18, 255], [0, 0, 8, 255]])


def run(*domains):
    """The report and its verdict; the progress must count every file once, to the end."""
    calls = []
    lines, is_ok = check(domains, lambda done, total: calls.append((done, total)))
    total = calls[-1][1] if calls else 0
    assert calls == [(i + 1, total) for i in range(total)]
    assert not [line for line in lines if "\n" in line]
    return lines, is_ok


def scenes(root):
    """gta5's layout without an official count."""
    return dict(dataset="scenes_source", root=str(root))


def starting(lines, kind):
    return [line.strip() for line in lines if line.strip().startswith(kind)]


@pytest.fixture
def root(tmp_path):
    seg_files.write_gta5(tmp_path, {f"{i:05d}": IDS for i in range(1, 5)})
    return tmp_path


def test_sound_data_passes_with_a_histogram_by_name(root):
    lines, is_ok = run(("source", scenes(root)))
    assert is_ok and lines[-1] == "  nothing wrong"
    assert lines[0] == f"source: scenes_source in {root}: 4 images, 4 labels"
    assert "4x3 (4)" in lines[1]
    rows = {line[6:28].strip(): line[28:].split() for line in lines[3:-1]}
    assert rows["road"] == ["0", "12", "25.000", "4"], "train id, pixels, per cent, files"
    assert rows["bicycle"] == ["18", "4", "8.333", "4"]
    assert rows["bus"] == ["15", "0", "0.000", "0"], "a class that is absent has its row"
    assert rows["ego vehicle"] == ["ignored", "4", "8.333", "4"] and "caravan" not in rows


def test_one_run_lists_every_kind_of_finding_and_goes_on(root):
    (root / "labels/00001.png").unlink()
    seg_files.write_palette(root / "labels/00009.png", IDS)
    seg_files.write_palette(root / "labels/00002.png", np.where(IDS == 8, 77, IDS))
    seg_files.write_image(root / "images/00003.png", (3, 9))
    (root / "images/00004.png").write_bytes(b"not a picture")
    seg_files.truncate(root / "labels/00004.png")
    lines, is_ok = run(
        ("source", scenes(root)),
        ("target", dict(dataset="scenes_source", root=str(root / "nowhere"))),
    )
    assert not is_ok
    unpaired = starting(lines, "unpaired:")
    assert (
        "00001.png: an image without label" in unpaired[0]
        and "00009.png: a label without image" in unpaired[1]
    )
    (unknown,) = starting(lines, "unknown id:")
    assert (
        "labels/00002.png: id 77 (1 pixels) is no id of gta5" in unknown
        and "as downloaded" in unknown
    )
    (size,) = starting(lines, "size:")
    assert "labels/00003.png: the label is 4x3 and its image 9x3" in size
    unreadable = starting(lines, "unreadable:")
    assert (
        "images/00004.png: cannot be decoded" in unreadable[0]
        and "labels/00004.png: cannot be decoded" in unreadable[1]
    )
    assert any(line.split()[:2] == ["77", "(unknown"] for line in lines), (
        "the histogram shows the id"
    )
    (opened,) = starting(lines, "cannot be opened:")
    assert "nowhere: no such folder; set config.data.target.root" in opened


def test_many_findings_of_a_kind_are_counted_and_not_listed(root):
    for i in range(5, 30):
        seg_files.write_image(root / f"images/{i:05d}.png", IDS.shape)
    lines, is_ok = run(("source", scenes(root)))
    found = starting(lines, "unpaired:")
    assert not is_ok and len(found) == check_data.MAX_LINES + 1
    assert found[-1] == f"unpaired: and {25 - check_data.MAX_LINES} more of this kind"


def test_train_ids_are_said_of_a_whole_set_once_and_of_single_files_by_name(root):
    seg_files.write_palette(root / "labels/00003.png", TRAIN_IDS)
    lines, _ = run(("source", scenes(root)))
    (single,) = starting(lines, "TrainIds:")
    assert "labels/00003.png: these are TrainIds" in single and "*_labelIds.png" in single
    cityscapes = root / "cityscapes"
    seg_files.write_cityscapes(cityscapes, {f"ulm/ulm_{i}": TRAIN_IDS for i in range(3)})
    lines, is_ok = run(
        ("target", dict(dataset="scenes_target", root=str(cityscapes), split="train"))
    )
    assert not is_ok
    (every,) = starting(lines, "TrainIds:")
    assert "ulm_0_gtFine_labelIds.png and all others: these are TrainIds" in every


def test_a_target_may_be_unlabelled_and_a_source_may_not(root):
    (root / "labels").rename(root / "elsewhere")
    lines, is_ok = run(("target", scenes(root)))
    assert is_ok and lines[0].endswith("4 images, no folder of labels")
    lines, is_ok = run(("source", scenes(root)))
    assert not is_ok and "a source needs labels" in starting(lines, "no labels:")[0]


def test_labels_that_ignore_every_pixel_are_named(root):
    for path in (root / "labels").iterdir():
        seg_files.write_palette(path, np.full(IDS.shape, 4))
    lines, is_ok = run(("source", scenes(root)))
    assert (
        not is_ok and "every pixel of every label is ignored" in starting(lines, "all ignored:")[0]
    )


def test_a_part_of_an_official_download_is_not_complete():
    assert (
        official_count("gta5") == 24966
        and official_count("synthia") == 9400
        and official_count("synscapes") == 25000
    )
    assert (
        official_count("cityscapes/train") == 2975
        and official_count("cityscapes/val") == 500
        and official_count("own") is None
    )
    frames = [f"{i:05d}" for i in range(1, 24967)]
    assert describe_missing("gta5", frames) is None and describe_missing("own", ["a"]) is None
    assert "24,962 of 24,966 official frames; missing: 00003..00005, 24966:" in describe_missing(
        "gta5", frames[:2] + frames[5:-1]
    )
    assert describe_missing("synthia", [f"{i:07d}" for i in range(9400)]) is None
    assert "missing: 1..2, 25000:" in describe_missing(
        "synscapes", [str(i) for i in range(3, 25000)]
    )
    assert "1 frames that the official download has not, demo" in describe_missing(
        "gta5", [*frames, "demo"]
    )
    assert "no frame of lindau, munster:" in describe_missing("cityscapes/val", ["frankfurt/1"])
    assert "the official split has 500" in describe_missing(
        "cityscapes/val", [f"lindau/{i}" for i in range(501)]
    )


@pytest.mark.slow
def test_real_cityscapes_frames_are_called_a_part(shared_data):
    config = dict(
        dataset="cityscapes",
        root=str(shared_data / "cityscapes_sample"),
        split="train",
        space="cityscapes",
    )
    lines, is_ok = run(("target", config))
    assert (
        not is_ok
        and "3 images, 3 labels (official: 2,975)" in lines[0]
        and "2048x1024 (3)" in lines[1]
    )
    assert (
        "3 of 2,975 official frames; no folder or no frame of bochum, bremen"
        in starting(lines, "incomplete:")[0]
    )
    assert len([line for line in lines if line.startswith("  ") and ":" in line]) == 2, (
        "sizes and that finding, nothing else"
    )


def test_image_folders_are_counted_by_class_and_decoded(tmp_path):
    for name in ("a/mug/1.png", "a/mug/2.png", "a/pen/3.png", "b/4.png"):
        seg_files.write_image(tmp_path / name)
    seg_files.truncate(tmp_path / "a/mug/2.png")
    lines, is_ok = run(
        ("source", read_folder(tmp_path, "a")), ("target", read_folder(tmp_path, "b"))
    )
    assert not is_ok and lines[:3] == [
        "source: a: 3 images, 2 classes",
        "  mug          2",
        "  pen          1",
    ]
    assert "mug/2.png: cannot be decoded" in starting(lines, "unreadable:")[0]
    assert lines[-2:] == ["target: b: 1 images, unlabelled", "  nothing wrong"]
    assert run(("source", read_folder(tmp_path, "b")))[1] is False, "a source without classes"


def from_domainnet(root, source="clipart", target="sketch"):
    opened = load_domains(
        types.SimpleNamespace(
            dataset="domainnet",
            root=str(root),
            source=source,
            target=target,
            source_split="train",
            target_split="train",
            evaluation_split="test",
        )
    )
    return [
        ("source", opened.sources[0]),
        ("target", opened.target),
        ("evaluation", opened.evaluation),
    ]


def test_counts_are_compared_with_the_official_ones(tmp_path):
    photo_files.write_office31(tmp_path)
    (source,), target, _ = load_domains(
        types.SimpleNamespace(
            dataset="office31", root=str(tmp_path), source="amazon", target="dslr"
        )
    )
    lines, is_ok = run(("source", source), ("target", target))
    assert (
        not is_ok and lines[0] == "source: office31/amazon: 31 images, 31 classes (official: 2,817)"
    )
    source, target = starting(lines, "incomplete:")
    assert source.startswith(
        "incomplete: office31/amazon: 31 images; expected 2,817, as the official download has:"
        " unpack its archives again"
    )
    assert "office31/dslr: 31 images; expected 498" in target
    assert (
        describe_other_count("office31/dslr", 498) is None
        and describe_other_count("own", 1) is None
    )
    assert "remove those that are not of it" in describe_other_count("office31/dslr", 499)


def test_every_listed_image_that_is_missing_is_reported(tmp_path):
    photo_files.write_domainnet(tmp_path)
    lines = [
        *(f"clipart/ant/{i}.jpg 0" for i in range(40)),
        "clipart/bat/2.jpg 1",
        "clipart/cow/3.jpg 2",
    ]
    photo_files.write_list(tmp_path / "clipart_train.txt", *lines)
    seg_files.truncate(tmp_path / "clipart/bat/2.jpg")
    lines, is_ok = run(*from_domainnet(tmp_path))
    missing = starting(lines, "missing:")
    assert not is_ok and len(missing) == check_data.MAX_LINES + 1
    assert "clipart/ant/0.jpg: no such file; unpack the download again" in missing[0]
    assert missing[-1] == f"missing: and {38 - check_data.MAX_LINES} more of this kind", (
        "1.jpg and 5.jpg are there"
    )
    assert "clipart/bat/2.jpg: cannot be decoded" in starting(lines, "unreadable:")[0]


def test_what_no_list_names_is_a_remark_and_so_is_a_class_without_an_image(tmp_path, monkeypatch):
    # nothing else is wrong with these few
    monkeypatch.setattr(check_images, "describe_other_count", lambda name, count: None)
    photo_files.write_domainnet(tmp_path)
    photo_files.write_images(
        tmp_path, "sketch/dog/1.jpg", "sketch/cow/9.jpg", "clipart/cow/.hidden.jpg"
    )
    lines, is_ok = run(*from_domainnet(tmp_path))
    assert is_ok and lines.count("  nothing wrong") == 3
    # sketch's: of the train list and of the test list
    hidden, unused = sorted({line for line in lines if "not used" in line})
    assert hidden == f"  not used: 1 hidden: {tmp_path}/clipart/cow/.hidden.jpg"
    assert (
        unused == f"  not used: 2 images below {tmp_path}/sketch that no list names:"
        f" {tmp_path}/sketch/cow/9.jpg, {tmp_path}/sketch/dog/1.jpg"
    )
    assert [line.strip() for line in lines if "without an image" in line] == [
        "listed without an image: ant",
        "listed without an image: bat",
    ]
    assert f"  named by {tmp_path}/sketch_train.txt, {tmp_path}/sketch_test.txt" in lines


def test_an_image_that_is_listed_twice_is_named(tmp_path):
    photo_files.write_domainnet(tmp_path)
    photo_files.write_list(
        tmp_path / "clipart_train.txt",
        *photo_files.DOMAINNET["clipart_train"],
        "clipart/ant/1.jpg 0",
    )
    lines, is_ok = run(*from_domainnet(tmp_path))
    (twice,) = starting(lines, "listed twice:")
    assert (
        not is_ok
        and "clipart/ant/1.jpg: 2 lines of" in twice
        and "expected one: remove the others" in twice
    )


def test_an_unlabelled_official_test_set_is_a_sound_target(tmp_path, monkeypatch):
    monkeypatch.setattr(check_images, "describe_other_count", lambda name, count: None)
    photo_files.write_visda2017(tmp_path, lists=False)
    opened = load_domains(
        types.SimpleNamespace(
            dataset="visda2017", root=str(tmp_path), source="train", target="test"
        )
    )
    lines, is_ok = run(("source", opened.sources[0]), ("target", opened.target))
    assert is_ok and lines[-2:] == [
        "target: visda2017/test: 3 images, unlabelled (official: 72,372)",
        "  nothing wrong",
    ]


def test_images_in_memory_are_counted_and_an_error_passed_on_is_shown():
    images = ImageSet(
        "digits", ("0", "1", "2"), np.array([0, 2], np.int32), np.zeros((2, 4, 4, 1), np.uint8)
    )
    lines, is_ok = run(
        ("source", images), ("target", DataError("x: no such folder; set config.data.root"))
    )
    assert not is_ok and "class '1' has no image" in starting(lines, "no image of a class:")[0]
    assert lines[-1] == "  cannot be opened: x: no such folder; set config.data.root"


def test_a_report_that_is_interrupted_leaves_no_queue_behind(root, monkeypatch):
    for i in range(5, 400):
        seg_files.write_image(root / f"images/{i:05d}.png")
    examine, examined = check_data._examine, []

    def count(listing, frame):
        examined.append(frame)
        time.sleep(0.005)
        return examine(listing, frame)

    def stop(counts):  # called for a file with 255 in it, between two results
        raise KeyboardInterrupt

    seg_files.write_palette(root / "labels/00001.png", TRAIN_IDS)
    monkeypatch.setattr(check_data, "_examine", count)
    monkeypatch.setattr(check_data, "looks_like_train_ids", stop)
    with pytest.raises(KeyboardInterrupt):
        run(("source", scenes(root)))
    assert len(examined) < 100, "of 399 that were queued"
