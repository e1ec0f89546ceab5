"""The label tables, the classes of a user's own data, and telling TrainIds from label ids."""

import numpy as np
import pytest
from PIL import Image

from data_pipeline.errors import DataError
from data_pipeline.segmentation import labels
from data_pipeline.segmentation.class_csv import read_classes
from data_pipeline.segmentation.labels import (
    CITYSCAPES,
    CITYSCAPES_16,
    GTA5,
    SUBSETS,
    SYNSCAPES,
    SYNTHIA,
    SYNTHIA_CLAN,
    map_ids,
    subsets_of,
)
from data_pipeline.segmentation.train_ids import looks_like_train_ids

SPACES = (CITYSCAPES, CITYSCAPES_16, GTA5, SYNSCAPES, SYNTHIA, SYNTHIA_CLAN)
CSV = """id,name,train_id,r,g,b
0,void,255,0,0,0
3,road,0,128,64,128
9,sky,1,70,130,180
12,cloud,1,1,2,3
"""


def counts_of(ids):
    return np.bincount(np.asarray(ids).ravel(), minlength=256)


def test_luts_and_palette_are_those_of_clan(golden):
    expected = golden("clan_labelmaps")[""]
    for space, name in (
        (GTA5, "gta5"),
        (CITYSCAPES, "cityscapes"),
        (SYNSCAPES, "cityscapes"),
        (SYNTHIA_CLAN, "synthia"),
    ):
        np.testing.assert_array_equal(space.lut, expected[f"{name}_lut"])
        np.testing.assert_array_equal(space.palette, expected["palette"][:19])
    # as CLAN's file spells them
    short = {"traffic light": "light", "traffic sign": "sign", "motorcycle": "motocycle"}
    assert [short.get(name, name) for name in CITYSCAPES.class_names] == expected[
        "class_names"
    ].tolist()
    ids = expected["random_ids"]
    np.testing.assert_array_equal(map_ids(ids, CITYSCAPES, "x.png"), expected["mapped"])


def test_the_16_classes_are_cityscapes_in_order_without_terrain_truck_and_train():
    # clan.md section 4
    spec = {
        3: 0,
        4: 1,
        2: 2,
        21: 3,
        5: 4,
        7: 5,
        15: 6,
        9: 7,
        6: 8,
        1: 9,
        10: 10,
        17: 11,
        8: 12,
        19: 13,
        12: 14,
        11: 15,
    }
    assert {i: int(k) for i, k in enumerate(SYNTHIA.lut) if k != 255} == spec
    assert (
        SYNTHIA.class_names
        == CITYSCAPES_16.class_names
        == tuple(CITYSCAPES.class_names[k] for k in SUBSETS["16"])
    )
    np.testing.assert_array_equal(SYNTHIA.palette, CITYSCAPES.palette[list(SUBSETS["16"])])
    kept = np.isin(CITYSCAPES.lut, SUBSETS["16"])  # the same pixels, numbered without gaps
    np.testing.assert_array_equal(
        CITYSCAPES_16.lut[kept], np.searchsorted(SUBSETS["16"], CITYSCAPES.lut[kept])
    )
    assert (CITYSCAPES_16.lut[~kept] == 255).all()


def test_every_table_knows_exactly_the_official_ids():
    cityscapes = {*range(34), 255}
    expected = {
        "cityscapes": cityscapes,
        "cityscapes_16": cityscapes,
        "synscapes": cityscapes,
        "gta5": {*range(35)},
        "synthia": {*range(23)},
        "synthia_clan": {*range(23)},
    }
    for space in SPACES:
        assert set(np.flatnonzero(space.is_known)) == expected[space.name]
        assert space.palette.shape == (space.num_classes, 3) and space.palette.dtype == np.uint8
        assert space.num_classes == (16 if space.name in ("synthia", "cityscapes_16") else 19)


def test_the_reported_subsets_follow_the_numbering_of_the_head(golden):
    cases = golden("clan_miou")
    case = next(arrays for arrays in cases.values() if "classes16" in arrays)
    assert SUBSETS["16"] == tuple(case["classes16"]) and SUBSETS["13"] == tuple(case["classes13"])
    assert subsets_of(CITYSCAPES) == subsets_of(SYNTHIA_CLAN) == SUBSETS
    assert subsets_of(SYNTHIA) == {"16": tuple(range(16)), "13": (0, 1, 2, *range(6, 16))}
    assert [CITYSCAPES.class_names[k] for k in SUBSETS["tail"]] == [
        "wall",
        "fence",
        "traffic light",
        "traffic sign",
        "terrain",
        "rider",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ]


@pytest.mark.parametrize(
    "space, ids, message",
    [
        (
            GTA5,
            np.array([[7, 90]], np.uint8),
            r"a/b.png: id 90 \(1 pixels\) is no id of gta5; use the label file as downloaded",
        ),
        (
            CITYSCAPES,
            np.array([[7, 26001]], np.uint16),
            "id 26001 .*instance file: use the file with the class ids",
        ),
        (CITYSCAPES, np.array([[7, 263]], np.uint16), "id 263 "),  # 7 in its low byte
        (GTA5, np.array([[0, 255], [255, 18]], np.uint8), r"id 255 \(2 pixels\) .*TrainIds"),
        (SYNTHIA, np.arange(23, 33, dtype=np.uint16)[None], "id 23, 24, 25, 26, 27 and 5 more"),
    ],
)
def test_an_id_that_no_table_knows_is_named_with_its_file(space, ids, message):
    with pytest.raises(DataError, match=message) as caught:
        map_ids(ids, space, "a/b.png")
    assert str(caught.value).startswith("a/b.png: ") and "\n" not in str(caught.value)


def test_sixteen_bit_ids_map_like_eight_bit_ones():
    ids = np.arange(23, dtype=np.uint8)[None]
    np.testing.assert_array_equal(
        map_ids(ids.astype(np.uint16), SYNTHIA, "x.png"), map_ids(ids, SYNTHIA, "x.png")
    )


def test_a_csv_defines_the_classes_of_own_data(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text(
        "\ufeffname, r,g,b,id,train_id\nsky,70,130,180,9,1\nvoid,0,0,0,0,255\n\n"
        "road,128,64,128,3,0\ncloud,1,2,3,12,1\n",
        "utf-8",
    )
    space = read_classes(path)
    assert space.class_names == ("road", "sky"), "the first row of a train id names it"
    np.testing.assert_array_equal(space.palette, [[128, 64, 128], [70, 130, 180]])
    np.testing.assert_array_equal(
        map_ids(np.array([[0, 3, 9, 12]], np.uint8), space, "x.png"), [[255, 0, 1, 1]]
    )
    assert subsets_of(space) == {}
    with pytest.raises(DataError, match=r"x.png: id 4 .*add a row for it to .*classes.csv"):
        map_ids(np.array([[4]], np.uint8), space, "x.png")


@pytest.mark.parametrize(
    "old, new, message",
    [
        (
            "train_id,",
            "",
            (
                "no column 'train_id'; found id,name,r,g,b; expected the columns"
                " id,name,train_id,r,g,b"
            ),
        ),
        ("g,b\n", "g,b,g\n", "column 'g' is there 2 times"),
        ("g,b\n", "g,b,kind\n", "unknown column 'kind'"),
        ("9,sky,1", "3,sky,1", "line 4 has id 3, which line 3 has already"),
        ("9,sky,1", "9,sky,one", "line 4: train_id is 'one'; expected a whole number in 0..255"),
        ("9,sky,1,70", "9,sky,1,-7", "line 4: r is '-7'"),
        ("9,sky,1", "300,sky,1", "line 4: id is '300'"),
        ("9,sky,1,70", "9,sky,70", "line 4 has 5 cells; expected 6"),
        ("9,sky", "9,", "line 4: the name is empty"),
        ("3,road,0", "3,road,2", r"the train ids are \[1, 2\]; expected 0, 1, 2"),
        ("9,sky", "9,road", "two train ids have a class of the same name"),
    ],
)
def test_a_wrong_csv_is_named_in_one_line(tmp_path, old, new, message):
    assert old in CSV
    path = tmp_path / "classes.csv"
    path.write_text(CSV.replace(old, new))
    with pytest.raises(DataError, match=message) as caught:
        read_classes(path)
    assert "\n" not in str(caught.value) and "classes.csv" in str(caught.value)


def test_an_empty_and_an_absent_csv_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere.csv: cannot be read"):
        read_classes(tmp_path / "nowhere.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="empty.csv: no column 'id'; found nothing"):
        read_classes(tmp_path / "empty.csv")


def test_train_ids_are_told_from_label_ids():
    street = np.array([7] * 50 + [11] * 30 + [23] * 10 + [1] * 5 + [0] * 5)
    assert not looks_like_train_ids(counts_of(street))
    assert looks_like_train_ids(counts_of(CITYSCAPES.lut[street]))
    assert looks_like_train_ids(counts_of(CITYSCAPES.lut[street[street >= 7]])), (
        "TrainIds without a void pixel"
    )
    # no sky, no car: still road is 7 and 0 is rare
    tunnel = np.array([7] * 50 + [16] * 30 + [0] * 5 + [4] * 15)
    assert not looks_like_train_ids(counts_of(tunnel))
    assert not looks_like_train_ids(counts_of(np.zeros(100, int))), (
        "an all-void label tells nothing"
    )


@pytest.mark.slow
def test_real_labels_of_both_kinds_are_told_apart_and_map_onto_each_other(shared_data):
    """The two files were shrunk separately: 77 of 32,768 pixels differ, on borders; all else agrees
    exactly.
    """
    base = shared_data / "cityscapes_mmseg_256x128/gtFine/val/frankfurt"
    ids, train_ids = (
        np.asarray(Image.open(base / f"frankfurt_000000_000294_gtFine_{kind}.png"))
        for kind in ("labelIds", "labelTrainIds")
    )
    assert looks_like_train_ids(counts_of(train_ids)) and not looks_like_train_ids(counts_of(ids))
    mapped = map_ids(ids, labels.CITYSCAPES, "x.png")
    padded = np.pad(mapped, 2, mode="edge")
    # [25, 128, 256]
    near = np.stack([padded[y : y + 128, x : x + 256] for y in range(5) for x in range(5)])
    assert (mapped != train_ids).sum() == 77 and (near == train_ids).any(axis=0).all()


@pytest.mark.slow
def test_real_train_ids_are_detected_frame_by_frame(shared_data):
    """Lindau's frames 17 to 52 among them, some of which show no road at all."""
    paths = sorted((shared_data / "cityscapes_val250/gt_trainIds").glob("*.png"))[::10]
    detected = [looks_like_train_ids(counts_of(np.asarray(Image.open(path)))) for path in paths]
    assert all(detected) and len(paths) == 25 and any("lindau_0000" in path.name for path in paths)
