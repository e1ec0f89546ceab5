"""Labels of own data in the colours of the CSV: exact, or an error."""

import numpy as np
import pytest
import seg_files
from PIL import Image

from data_pipeline.check.check_data import check
from data_pipeline.errors import DataError
from data_pipeline.segmentation.class_csv import read_classes
from data_pipeline.segmentation.color_labels import read_ids_or_colors
from data_pipeline.segmentation.readers import read_domain

ROWS = (
    seg_files.ROAD,
    "23,sky,1,70,130,180",
    "26,car,2,0,0,142",
    "0,void,-1,0,0,0",
    "9,edge,255,0,0,0",
)
COLORS = {7: (128, 64, 128), 23: (70, 130, 180), 26: (0, 0, 142), 0: (0, 0, 0)}
IDS = np.array([[7, 7, 23], [26, 0, 7]], np.uint8)
TRAIN_IDS = np.array([[0, 0, 1], [2, 255, 0]])


@pytest.fixture
def space(tmp_path):
    return read_classes(seg_files.write_classes(tmp_path, *ROWS))


def colored(ids, alpha=None):
    pixels = np.array([COLORS[i] for i in ids.ravel().tolist()], np.uint8).reshape(*ids.shape, 3)
    return pixels if alpha is None else np.dstack([pixels, np.full(ids.shape, alpha, np.uint8)])


def test_minus_one_is_ignored_as_255_is(space):
    assert space.lut[0] == space.lut[9] == 255 and space.class_names == ("road", "sky", "car")


@pytest.mark.parametrize("alpha", [None, 255])
def test_rgb_and_rgba_labels_become_the_ids_of_their_colours(tmp_path, space, alpha):
    Image.fromarray(colored(IDS, alpha)).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_ids_or_colors(str(tmp_path / "x.png"), space=space), IDS)


def test_ten_thousand_random_pixels_come_back_exactly(tmp_path, space):
    ids = np.random.default_rng(0).choice([7, 23, 26, 0], (100, 100)).astype(np.uint8)
    Image.fromarray(colored(ids)).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_ids_or_colors(str(tmp_path / "x.png"), space=space), ids)


def test_a_palette_of_the_csvs_colours_says_what_a_pixel_is(tmp_path, space):
    """As a program saves it that numbers few colours as they come: index 0 is the car here."""
    order = [26, 7, 23, 0]
    seg_files.write_palette(tmp_path / "x.png", [[1, 1, 2], [0, 3, 1]], [COLORS[i] for i in order])
    np.testing.assert_array_equal(read_ids_or_colors(str(tmp_path / "x.png"), space=space), IDS)
    quantised = Image.fromarray(colored(IDS)).quantize(8)
    quantised.save(tmp_path / "q.png")
    np.testing.assert_array_equal(read_ids_or_colors(str(tmp_path / "q.png"), space=space), IDS)


def test_any_other_palette_holds_ids_as_its_indices(tmp_path, space):
    seg_files.write_palette(tmp_path / "x.png", IDS)  # colours that mean nothing
    np.testing.assert_array_equal(read_ids_or_colors(str(tmp_path / "x.png"), space=space), IDS)
    table = [(0, 0, 0)] * 256
    for i, color in COLORS.items():
        table[i] = color
    seg_files.write_palette(
        tmp_path / "y.png", IDS, table
    )  # the index is the id and has its colour
    np.testing.assert_array_equal(read_ids_or_colors(str(tmp_path / "y.png"), space=space), IDS)
    seg_files.write_palette(tmp_path / "z.png", IDS, [(0, 0, 0)] * 256)  # no colours at all
    np.testing.assert_array_equal(read_ids_or_colors(str(tmp_path / "z.png"), space=space), IDS)
    seg_files.write_ids(tmp_path / "grey.png", IDS)
    np.testing.assert_array_equal(read_ids_or_colors(str(tmp_path / "grey.png"), space=space), IDS)


def test_an_unknown_colour_is_named_with_its_file_and_pixels(tmp_path, space):
    pixels = colored(np.tile(IDS, (2, 2)))
    pixels[0, :3] = (1, 2, 3)
    pixels[1, 0] = (129, 64, 128)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    with pytest.raises(
        DataError,
        match=(
            r"x.png: colour \(1, 2, 3\) \(3 pixels\), \(129, 64, 128\) \(1 pixels\) is none of "
            r".*classes.csv; add a row"
        ),
    ):
        read_ids_or_colors(str(tmp_path / "x.png"), space=space)


def test_transparent_pixels_and_colours_of_two_classes_are_refused(tmp_path, space):
    pixels = colored(IDS, 255)
    pixels[0, 0, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "x.png")
    with pytest.raises(
        DataError,
        match="x.png: 1 pixels are transparent; expected a label with a colour at every pixel",
    ):
        read_ids_or_colors(str(tmp_path / "x.png"), space=space)
    rows = [row.replace("70,130,180", "0,0,142") for row in ROWS]
    space = read_classes(seg_files.write_classes(tmp_path, *rows))
    Image.fromarray(colored(IDS)).save(tmp_path / "x.png")
    with pytest.raises(
        DataError, match=r"classes.csv: 'sky' and 'car' have one colour, \(0, 0, 142\)"
    ):
        read_ids_or_colors(str(tmp_path / "x.png"), space=space)


def test_what_is_no_label_at_all_keeps_its_line(tmp_path, space):
    path = str(tmp_path / "x.png")
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    for write, says in (
        (lambda: None, "no such file"),
        (lambda: (tmp_path / "x.png").write_bytes(b"text"), "not a PNG file"),
        (lambda: Image.fromarray(np.zeros((4, 4), bool)).save(path), "found 1-bit grey PNG"),
        (
            lambda: seg_files.write_png16(tmp_path / "x.png", np.zeros((4, 4, 3), np.uint16)),
            "found 16-bit RGB PNG",
        ),
        (
            lambda: (Image.fromarray(noise).save(path), seg_files.truncate(tmp_path / "x.png")),
            "cannot be decoded",
        ),
    ):
        write()
        with pytest.raises(DataError, match=f"x.png: {says}"):
            read_ids_or_colors(path, space=space)


def test_own_data_in_colours_are_a_sound_set_and_one_wrong_pixel_is_found(tmp_path, space):
    for i in range(3):
        seg_files.write_image(tmp_path / f"images/{i}.png", IDS.shape)
        (tmp_path / "labels").mkdir(exist_ok=True)
        Image.fromarray(colored(IDS)).save(tmp_path / f"labels/{i}.png")
    config = seg_files.own(tmp_path)
    np.testing.assert_array_equal(read_domain(config).read_label(1), TRAIN_IDS)
    lines, is_ok = check([("source", config)], lambda done, total: None)
    assert is_ok and any(line.split() == ["7", "road", "0", "9", "50.000", "3"] for line in lines)
    pixels = colored(IDS)
    pixels[1, 1] = (9, 9, 9)
    Image.fromarray(pixels).save(tmp_path / "labels/2.png")
    lines, is_ok = check([("source", config)], lambda done, total: None)
    assert not is_ok and any(
        "labels/2.png: colour (9, 9, 9) (1 pixels) is none of" in line for line in lines
    )


def test_an_empty_classes_key_names_the_tables_that_are_there(tmp_path, space):
    seg_files.write_image(tmp_path / "images/1.png")
    for classes in ("", ".", "images"):
        config = dict(dataset="own", root=str(tmp_path), classes=classes)
        with pytest.raises(
            DataError,
            match=(
                f"config.data.source.classes is '{classes}'; expected the CSV file .*CSV files "
                "there: classes.csv"
            ),
        ):
            read_domain(config, "config.data.source")
    with pytest.raises(DataError, match="absent.csv: cannot be read: No such file"):
        read_domain(dict(dataset="own", root=str(tmp_path), classes="absent.csv"))
