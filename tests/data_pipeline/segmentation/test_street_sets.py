"""ACDC, Dark Zurich, BDD100K, IDD, Mapillary Vistas and CamVid on miniatures of their downloads."""

import json

import numpy as np
import pytest
import seg_files
from PIL import Image

from data_pipeline.check import check_data
from data_pipeline.check.official import describe_other_count, official_count
from data_pipeline.check.start_checks import segmentation_problems
from data_pipeline.errors import DataError
from data_pipeline.segmentation import street_sets
from data_pipeline.segmentation.labels import CITYSCAPES, CITYSCAPES_16, IGNORED
from data_pipeline.segmentation.readers import read_domain, read_space

IDS = np.array([[7, 8, 11, 0], [23, 26, 33, 3], [24, 21, 19, 1]])  # of Cityscapes
TRAIN_IDS = np.array([[0, 1, 2, 255], [10, 13, 18, 255], [11, 8, 6, 255]])


def write_acdc(root):
    for condition in street_sets.CONDITIONS:
        place = f"{condition}/train/GOPR0402"
        seg_files.write_image(root / f"rgb_anon/{place}/GOPR0402_frame_1_rgb_anon.png", IDS.shape)
        for ending in ("labelIds", "labelTrainIds", "invGray"):
            seg_files.write_ids(root / f"gt/{place}/GOPR0402_frame_1_gt_{ending}.png", IDS)
    seg_files.write_image(root / "rgb_anon/night/test/GOPR1/GOPR1_frame_2_rgb_anon.png", IDS.shape)


def write_dark_zurich(root):
    for split, time in (("train", "night"), ("train", "day"), ("val", "night")):
        place = f"{split}/{time}/GOPR0356"
        seg_files.write_image(root / f"rgb_anon/{place}/GOPR0356_frame_7_rgb_anon.png", IDS.shape)
    seg_files.write_ids(root / f"gt/{place}/GOPR0356_frame_7_gt_labelIds.png", IDS)


def write_bdd100k(root, first=False):
    images, labels = "images/10k/val", "labels/sem_seg/masks/val"
    if first:
        images, labels = "seg/images/val", "seg/labels/val"
    seg_files.write_image(root / images / "7d06fefd-f7be05a6.jpg", IDS.shape)
    name = f"7d06fefd-f7be05a6{'_train_id' if first else ''}.png"
    seg_files.write_ids(root / labels / name, TRAIN_IDS)


def write_idd(root):
    """Two frames of different endings, as parts I and II have them."""
    for drive, frame, ending in (("0", "000003", "png"), ("400", "frame0029", "jpg")):
        place = f"val/{drive}/{frame}"
        seg_files.write_image(root / f"leftImg8bit/{place}_leftImg8bit.{ending}", (6, 8))
        objects = [
            dict(label="sky", polygon=[[0, 0], [7, 0], [7, 5], [0, 5]]),
            dict(label="road", polygon=[[0, 3], [7, 3], [7, 5], [0, 5]]),
            dict(label="autorickshaw", polygon=[[0, 3], [1, 3], [1, 4], [0, 4]]),
            dict(label="cargroup", polygon=[[5, 3], [6, 3], [6, 4], [5, 4]]),
            dict(label="bus", deleted=1, polygon=[[0, 0], [7, 0], [7, 5], [0, 5]]),
            dict(label="pole", polygon=[[2, 2]]),
        ]
        content = dict(imgHeight=6, imgWidth=8, objects=objects)
        path = root / f"gtFine/{place}_gtFine_polygons.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        seg_files.write_ids(root / f"gtFine/{place}_gtFine_labellevel3Ids.png", np.zeros((6, 8)))


def write_mapillary(root, inner="labels"):
    seg_files.write_image(root / "validation/images/a-1.jpg", (1, 6))
    seg_files.write_palette(root / f"validation/{inner}/a-1.png", [[13, 2, 17, 65, 21, 7]])


def write_camvid(root):
    colors = {"0001TP_006690": (128, 64, 128), "0001TP_008550": (0, 0, 192)}
    colors |= {"0016E5_07959": (0, 128, 192), "0016E5_07920": (64, 0, 128)}
    colors |= {"Seq05VD_f00030": (128, 128, 0), "0006R0_f00930": (128, 128, 128)}
    for frame, color in colors.items():
        seg_files.write_image(root / f"701_StillsRaw_full/{frame}.png", (2, 2))
        path = root / f"LabeledApproved_full/{frame}_L.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2), color).save(path)


WRITERS = dict(
    acdc=(write_acdc, "train"),
    dark_zurich=(write_dark_zurich, "val"),
    bdd100k=(write_bdd100k, "val"),
    idd=(write_idd, "val"),
    mapillary=(write_mapillary, "validation"),
    camvid=(write_camvid, "train"),
)


def config_of(name, root, split, space="cityscapes"):
    return dict(dataset=name, root=str(root), split=split, space=space)


def read(name, root, split, space="cityscapes"):
    return read_domain(config_of(name, root, split, space))


def test_every_street_set_has_a_miniature_here():
    assert WRITERS.keys() == set(street_sets.NAMES)


@pytest.mark.parametrize("name", street_sets.NAMES)
def test_a_street_set_is_read_over_the_classes_of_cityscapes(name, tmp_path):
    """With 19 classes and with SYNTHIA's 16; training would start, and check_data finds nothing
    but that the miniature is one.
    """
    write, split = WRITERS[name]
    write(tmp_path)
    found = read(name, tmp_path, split)
    assert found.class_names == CITYSCAPES.class_names and found.has_labels
    assert found.name == f"{name}/{split}" and found.left_out == ()
    assert segmentation_problems(found, ()) == []
    for i in range(len(found)):
        assert found.read_label(i).shape == found.read_image(i).shape[:2]
    fewer = read(name, tmp_path, split, "cityscapes_16")
    assert fewer.class_names == CITYSCAPES_16.class_names
    for images, space in ((found, "cityscapes"), (fewer, "cityscapes_16")):
        assert read_space({"dataset": name, "space": space}) == images.space, "without its files"
    lines, is_ok = check_data.check(
        [("target", config_of(name, tmp_path, split))], lambda done, total: None
    )
    assert not is_ok and sum("  incomplete: " in line for line in lines) == 1, lines
    assert f"expected {official_count(found.name):,}" in "\n".join(lines)
    assert not any(line.startswith("  unreadable") for line in lines)


def test_acdc_reads_all_conditions_or_one(tmp_path):
    write_acdc(tmp_path)
    found = read("acdc", tmp_path, "train")
    assert [path.split("/rgb_anon/")[1].split("/")[0] for path in found.image_paths] == [
        *street_sets.CONDITIONS
    ]
    assert found.label_paths[1].endswith("gt/night/train/GOPR0402/GOPR0402_frame_1_gt_labelIds.png")
    np.testing.assert_array_equal(found.read_label(1), TRAIN_IDS)
    night = read("acdc", tmp_path, "night/train")
    assert len(night) == 1 and "/night/train/" in night.image_paths[0]
    test = read("acdc", tmp_path, "test")
    assert len(test) == 1 and not test.has_labels
    assert official_count("acdc/night/val") == 106 and official_count("acdc/val") == 406


def test_dark_zurich_is_night_unless_another_time_is_named(tmp_path):
    write_dark_zurich(tmp_path)
    night, day = read("dark_zurich", tmp_path, "train"), read("dark_zurich", tmp_path, "train/day")
    assert "/train/night/" in night.image_paths[0] and not night.has_labels
    assert "/train/day/" in day.image_paths[0]
    np.testing.assert_array_equal(read("dark_zurich", tmp_path, "val").read_label(0), TRAIN_IDS)


@pytest.mark.parametrize("first", [False, True])
def test_both_releases_of_bdd100k_hold_train_ids(first, tmp_path):
    write_bdd100k(tmp_path, first)
    np.testing.assert_array_equal(read("bdd100k", tmp_path, "val").read_label(0), TRAIN_IDS)
    fewer = read("bdd100k", tmp_path, "val", "cityscapes_16")
    assert fewer.read_label(0)[1].tolist() == [9, 12, 15, 255], "sky, car, bicycle of 16"


def test_idds_polygons_are_drawn_one_over_the_other(tmp_path):
    """Sky, road over it, on this an autorickshaw, which is ignored, and a group of cars; what is
    deleted is not drawn.
    """
    write_idd(tmp_path)
    found = read("idd", tmp_path, "val")
    expected = np.full((6, 8), 10)
    expected[3:] = 0
    expected[3:5, :2], expected[3:5, 5:7] = IGNORED, 13
    for i in range(2):
        np.testing.assert_array_equal(found.read_label(i), expected)
    assert [path.rsplit(".", 1)[1] for path in found.image_paths] == ["png", "jpg"]
    assert found.label_hw(found.label_paths[0]) == (6, 8)
    for both in (14027, 6993):
        assert describe_other_count("idd/train", both) is None


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "it is no JSON"),
        ("[]", "it has no imgHeight and imgWidth"),
        ('{"imgHeight": 6, "imgWidth": 8}', "it has no list of objects"),
        (
            '{"imgHeight": 6, "imgWidth": 8, "objects": [{"label": "tree", "polygon": []}]}',
            "label 'tree' is no class of IDD",
        ),
        (
            '{"imgHeight": 6, "imgWidth": 8, "objects": [{"label": "sky", "polygon": [1]}]}',
            "a polygon of 'sky' has no corners",
        ),
    ],
)
def test_a_file_that_holds_no_polygons_of_idd_is_named(content, message, tmp_path):
    write_idd(tmp_path)
    path = tmp_path / "gtFine/val/0/000003_gtFine_polygons.json"
    path.write_text(content)
    with pytest.raises(DataError, match=f"{path}: .*{message}") as error:
        read("idd", tmp_path, "val").read_label(0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("inner", ["labels", "v1.2/labels"])
def test_mapillary_is_mapped_as_robustnet_maps_it(inner, tmp_path):
    """Road, curb (as sidewalk), building, unlabeled, motorcyclist (as rider), bike lane (ignored);
    the labels of release 1.2 are found in release 2.0 too.
    """
    write_mapillary(tmp_path, inner)
    label = read("mapillary", tmp_path, "validation").read_label(0)
    assert label.tolist() == [[0, 1, 2, 255, 12, 255]]


def test_camvid_is_split_as_segnet_split_it(tmp_path):
    write_camvid(tmp_path)

    def classes(split):
        found = read("camvid", tmp_path, split)
        return {
            path.rsplit("/", 1)[1][:-4]: int(found.read_label(i)[0, 0])
            for i, path in enumerate(found.image_paths)
        }

    assert classes("train") == {"0001TP_006690": 0, "0006R0_f00930": 10, "0016E5_07920": 13}
    assert classes("test") == {"0001TP_008550": 1, "Seq05VD_f00030": 8}
    assert classes("val") == {"0016E5_07959": IGNORED}, "Bicyclist is rider and bicycle in one"
    assert len(classes("")) == 6
    sizes = [official_count(f"camvid/{split}") for split in ("train", "val", "test")]
    assert sum(sizes) == official_count("camvid") == 701


@pytest.mark.parametrize(
    "name, split, message",
    [
        ("acdc", "", "config.data.split is ''; expected a split of acdc: train, val, test, or"),
        ("camvid", "all", "config.data.split is 'all'; expected train, val, test, or '' for all"),
        ("idd", "../val", "config.data.split names '../val'; expected a path below the root"),
        (
            "mapillary",
            "val",
            r"no NAME.jpg under val/images; there: nothing; mapillary is read as downloaded, and"
            r" its splits \(config.data.split\) are training, validation or testing",
        ),
    ],
)
def test_a_split_that_is_none_is_named(name, split, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read(name, tmp_path, split)
