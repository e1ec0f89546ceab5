"""The readers of segmentation data, on small copies of the official layouts and on real frames."""

import concurrent.futures

import numpy as np
import pytest
import seg_files
from PIL import Image

from dajax.recipes import spcl
from data_pipeline.check import check_data
from data_pipeline.check.start_checks import segmentation_problems
from data_pipeline.errors import DataError
from data_pipeline.segmentation.id_png import read_ids, read_synthia_ids
from data_pipeline.segmentation.labels import (
    CITYSCAPES,
    CITYSCAPES_16,
    GTA5,
    SYNSCAPES,
    SYNTHIA,
    SYNTHIA_CLAN,
)
from data_pipeline.segmentation.readers import read_domain, read_space
from data_pipeline.segmentation.train_ids import check_first_labels

IDS = np.array([[7, 8, 11, 0], [23, 26, 33, 3], [7, 7, 21, 1]])
TRAIN_IDS = [[0, 1, 2, 255], [10, 13, 18, 255], [0, 0, 8, 255]]


def names(paths):
    return [path.rsplit("/", 1)[1] for path in paths]


def synthia_pixels(rng, hw=(9, 5)):
    """Class ids in channel 0; instance numbers that use the high byte in channel 1."""
    return np.stack(
        [rng.integers(0, 23, hw), rng.integers(0, 3000, hw), np.zeros(hw, int)], axis=-1
    ).astype(np.uint16)


@pytest.fixture
def gta5(tmp_path):
    seg_files.write_gta5(tmp_path, {"00002": IDS, "00001": IDS[::-1], "00010": IDS})
    return tmp_path


@pytest.fixture
def cityscapes(tmp_path):
    seg_files.write_cityscapes(
        tmp_path, {"ulm/ulm_1_2": IDS, "aachen/aachen_0_9": IDS[::-1], "aachen/aachen_0_3": IDS}
    )
    return tmp_path


def config_of(dataset, root, **more):
    return dict(dict(dataset=dataset, root=str(root)), **more)


def test_gta5_gives_palette_indices_and_not_colours(gta5):
    found = read_domain(config_of("gta5", gta5))
    assert (found.name, len(found), found.space) == ("gta5", 3, GTA5)
    assert (
        names(found.image_paths)
        == names(found.label_paths)
        == ["00001.png", "00002.png", "00010.png"]
    )
    label = found.read_label(1)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, TRAIN_IDS)
    image = found.read_image(1)
    assert image.dtype == np.uint8 and image.shape == (3, 4, 3)
    assert found.describe(2).endswith("images/00010.png")


def test_cityscapes_is_in_the_order_of_the_published_lists(cityscapes):
    found = read_domain(config_of("cityscapes", cityscapes, split="train", space="cityscapes"))
    assert names(found.image_paths) == [
        "aachen_0_3_leftImg8bit.png",
        "aachen_0_9_leftImg8bit.png",
        "ulm_1_2_leftImg8bit.png",
    ]
    assert names(found.label_paths)[2] == "ulm_1_2_gtFine_labelIds.png"
    np.testing.assert_array_equal(found.read_label(0), TRAIN_IDS)
    for_synthia = read_domain(
        config_of("cityscapes", cityscapes, split="train", space="cityscapes_16")
    )
    assert for_synthia.space is CITYSCAPES_16
    np.testing.assert_array_equal(
        for_synthia.read_label(0), [[0, 1, 2, 255], [9, 12, 15, 255], [0, 0, 8, 255]]
    )


def test_synscapes_is_in_numeric_order(tmp_path):
    for frame in ("10", "9", "1"):
        seg_files.write_image(tmp_path / f"img/rgb/{frame}.png", IDS.shape)
        seg_files.write_ids(tmp_path / f"img/class/{frame}.png", IDS)
    found = read_domain(config_of("synscapes", tmp_path, split="rgb"))
    assert names(found.image_paths) == names(found.label_paths) == ["1.png", "9.png", "10.png"]
    np.testing.assert_array_equal(found.read_label(2), TRAIN_IDS)


def test_synscapes_frames_are_those_that_its_recipe_reads(tmp_path):
    """img/rgb-2k, 2048x1024, with labels of 1440x720, which keep their size; the same in
    check_data.
    """
    ids = np.full((45, 90), 7)
    seg_files.write_image(tmp_path / "img/rgb-2k/1.png", (64, 128))
    seg_files.write_image(tmp_path / "img/rgb/1.png", ids.shape)
    seg_files.write_ids(tmp_path / "img/class/1.png", ids)
    config = spcl.get_config(
        f"synscapes_to_cityscapes,weights=none,source_root={tmp_path}"
    ).data.source
    found = read_domain(config)
    assert found.image_paths[0].endswith("img/rgb-2k/1.png")
    np.testing.assert_array_equal(found.read_label(0), np.zeros(ids.shape))
    lines, _ = check_data.check([("source", config)], lambda done, total: None)
    assert lines and not any("width x height); expected" in line for line in lines)
    assert segmentation_problems(found, ()) == []
    seg_files.write_ids(tmp_path / "img/class/1.png", np.full((64, 128), 7))
    assert "expected a label of 90x45" in segmentation_problems(found, ())[0]
    with pytest.raises(
        DataError, match="the label is 128x64 and its image 128x64 .* expected a label of 90x45"
    ):
        found.read_label(0)
    with pytest.raises(DataError, match="source.split is ''; expected rgb-2k or rgb"):
        read_domain(config_of("synscapes", tmp_path, split=""), "source")


def test_synthia_gives_channel_0_of_16_bit_png_exactly(tmp_path):
    pixels = synthia_pixels(np.random.default_rng(0))
    seg_files.write_image(tmp_path / "RGB/0000000.png", pixels.shape[:2])
    seg_files.write_png16(tmp_path / "GT/LABELS/0000000.png", pixels)
    path = str(tmp_path / "GT/LABELS/0000000.png")
    np.testing.assert_array_equal(read_synthia_ids(path), pixels[:, :, 0])
    for name, space in (("synthia", SYNTHIA), ("synthia_clan", SYNTHIA_CLAN)):
        found = read_domain(config_of("synthia", tmp_path, space=name))
        np.testing.assert_array_equal(found.read_label(0), space.lut[pixels[:, :, 0]])


def test_classes_are_known_without_images():
    for config, space in (
        ({"dataset": "gta5"}, GTA5),
        ({"dataset": "scenes_source"}, GTA5),
        ({"dataset": "scenes_target"}, CITYSCAPES),
        ({"dataset": "cityscapes", "space": "cityscapes"}, CITYSCAPES),
        ({"dataset": "synthia", "space": "synthia_clan"}, SYNTHIA_CLAN),
        ({"dataset": "synscapes"}, SYNSCAPES),
    ):
        assert read_space(config) is space
    with pytest.raises(DataError, match="unknown segmentation data set 'kitti'"):
        read_space({"dataset": "kitti"})


def test_synthia_ids_of_clans_golden_picture_survive_the_file(golden, tmp_path):
    pixels = golden("clan_preproc")[""]["synthia_label_png"]
    seg_files.write_png16(tmp_path / "label.png", pixels)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # as tf.data and check_data read
        for ids in pool.map(read_synthia_ids, [str(tmp_path / "label.png")] * 8):
            np.testing.assert_array_equal(ids, pixels[:, :, 0])


def test_own_data_needs_two_folders_and_a_csv(tmp_path):
    rows = "0,void,255,0,0,0", "4,field,1,9,9,9", "2,river,0,1,2,3"
    seg_files.write_classes(tmp_path, *rows)
    for frame, suffix in (("b2", "png"), ("b10", "bmp"), ("a", "png")):
        seg_files.write_image(tmp_path / f"images/{frame}.{suffix}", (2, 2))
        seg_files.write_ids(tmp_path / f"labels/{frame}.png", [[0, 4], [2, 2]])
    found = read_domain(seg_files.own(tmp_path))
    assert found.class_names == ("river", "field") and found.num_classes == 2
    assert names(found.image_paths) == ["a.png", "b2.png", "b10.bmp"] and names(
        found.label_paths
    ) == ["a.png", "b2.png", "b10.png"]
    np.testing.assert_array_equal(found.read_label(2), [[255, 1], [0, 0]])
    seg_files.write_image(tmp_path / "images/a.bmp")
    with pytest.raises(DataError, match="a.png: a second file named 'a', beside .*a.bmp"):
        read_domain(seg_files.own(tmp_path))


def test_a_set_without_a_folder_of_labels_is_unlabelled(cityscapes):
    (cityscapes / "gtFine").rename(cityscapes / "elsewhere")
    found = read_domain(config_of("cityscapes", cityscapes, split="train", space="cityscapes"))
    assert (
        found.label_paths is None
        and len(found) == 3
        and found.class_names == CITYSCAPES.class_names
    )
    check_first_labels(found)
    with pytest.raises(DataError, match="a label asked of a set without labels"):
        found.read_label(0)


def test_without_labels_nothing_of_the_labels_is_left(gta5):
    found = read_domain(config_of("gta5", gta5))
    assert (
        found.without_labels().label_paths is None
        and found.without_labels().image_paths == found.image_paths
    )
    assert found.without_labels().fingerprint() != found.fingerprint()


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda root: (root / "labels/00002.png").unlink(),
            "images/00002.png: an image without label; expected .*labels/00002.png",
        ),
        (
            lambda root: (root / "images/00002.png").unlink(),
            "labels/00002.png: a label without image",
        ),
        (
            lambda root: [(root / f"labels/{i:05d}.png").unlink() for i in (1, 2, 10)],
            r"00001.png: an image without label.*\(2 more such files",
        ),
        (
            lambda root: (root / "images").rename(root / "pictures"),
            r"no \*.png under images; there: labels, pictures; set config.data.root",
        ),
    ],
)
def test_a_frame_without_its_other_half_is_named(gta5, change, message):
    change(gta5)
    with pytest.raises(DataError, match=message) as caught:
        read_domain(config_of("gta5", gta5))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config, message",
    [
        (dict(dataset="gta", root="/"), "unknown segmentation data set 'gta'; known: gta5, "),
        (
            dict(dataset="gta5", root="/nowhere/at/all"),
            "/nowhere/at/all: no such folder; set config.data.root",
        ),
        (dict(dataset="gta5"), "config.data.root is missing"),
        (
            dict(dataset="cityscapes", root="/tmp", space="cityscapes"),
            "config.data.split is missing",
        ),
        (
            dict(dataset="synthia", root="/tmp", space="gta5"),
            "config.data.space is 'gta5'; expected synthia or synthia_clan",
        ),
    ],
)
def test_a_wrong_config_names_its_key(config, message):
    with pytest.raises(DataError, match=message):
        read_domain(config)


def test_a_label_of_another_size_is_refused_but_for_gta5s_few_pixels(gta5):
    found = read_domain(config_of("gta5", gta5))
    seg_files.write_image(gta5 / "images/00001.png", (3, 5))
    with pytest.raises(
        DataError, match=r"labels/00001.png: the label is 4x3 and its image 5x3 .*images/00001.png"
    ):
        found.read_label(0)
    seg_files.write_image(gta5 / "images/00001.png", (200, 400))
    seg_files.write_palette(gta5 / "labels/00001.png", np.full((198, 400), 7))
    label = found.read_label(0)  # 1 % off
    assert label.shape == (200, 400) and (label == 0).all()


def test_files_that_cannot_be_ids_are_named(tmp_path):
    path = tmp_path / "x.png"
    pixels = synthia_pixels(np.random.default_rng(1), (40, 40))

    def refused(reader, message):
        with pytest.raises(DataError, match=message) as caught:
            reader(str(path))
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)

    refused(read_ids, "x.png: no such file")
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    refused(read_ids, "found 8-bit RGB PNG; expected one id a pixel")
    refused(read_synthia_ids, "found 8-bit RGB PNG; expected SYNTHIA's 16-bit RGB")
    seg_files.write_ids(path, pixels[:, :, 0])
    refused(
        read_synthia_ids,
        "found 8-bit grey PNG; expected SYNTHIA's 16-bit RGB .*take GT/LABELS from",
    )
    seg_files.truncate(path)
    refused(read_ids, "cannot be decoded: .*download or copy the file again")
    seg_files.write_png16(path, pixels)
    seg_files.truncate(path)
    refused(read_synthia_ids, "invalid or truncated PNG data")
    Image.fromarray(pixels.astype(np.uint8)).save(path, "JPEG")
    refused(read_ids, "not a PNG file")
    path.write_bytes(b"")
    refused(read_synthia_ids, "not a PNG file .0 bytes.")
    Image.fromarray(np.zeros((4, 4), bool)).save(path)
    refused(read_ids, "found 1-bit grey PNG")  # PIL would scale its values


def test_sixteen_bit_grey_ids_are_read_exactly(tmp_path):
    ids = np.array([[0, 7], [255, 26001]], np.uint16)
    Image.fromarray(ids).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_ids(str(tmp_path / "x.png")), ids)


def test_train_ids_where_label_ids_are_expected_stop_the_start(gta5, cityscapes):
    check_first_labels(read_domain(config_of("gta5", gta5)))
    for path in (gta5 / "labels").iterdir():
        seg_files.write_palette(path, TRAIN_IDS)
    with pytest.raises(
        DataError,
        match=r"labels/00001.png and others: no value in 19..34 in 3 labels: these are TrainIds",
    ):
        check_first_labels(read_domain(config_of("gta5", gta5)))
    for path in sorted((cityscapes / "gtFine").rglob("*labelIds.png")):
        path.rename(str(path).replace("labelIds", "labelTrainIds"))
    with pytest.raises(
        DataError,
        match=r"aachen_0_3_gtFine_labelTrainIds.png: TrainIds, and no \*_gtFine_labelIds.png",
    ):
        read_domain(config_of("cityscapes", cityscapes, split="train", space="cityscapes"))


@pytest.mark.slow
def test_real_cityscapes_frames_are_read(shared_data):
    found = read_domain(
        config_of(
            "cityscapes", shared_data / "cityscapes_sample", split="train", space="cityscapes"
        )
    )
    assert len(found) == 3 and names(found.image_paths)[1] == "aachen_000001_000019_leftImg8bit.png"
    check_first_labels(found)
    image, label = found.read_image(1), found.read_label(1)
    assert image.shape == (1024, 2048, 3) and label.shape == (1024, 2048)
    assert (label == 0).sum() == 843229, "road pixels, counted in the file"
