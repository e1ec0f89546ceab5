"""Rare class sampling: the authors' own numbers (sota_rcs.npz), what a step draws, and what is
counted and kept. The feed's word for it: tests/tasks/test_rare_classes.py.
"""

import json

import numpy as np
import pytest
from golden_arrays import between
from gta5_set import make_set

from data_pipeline.errors import DataError
from data_pipeline.sampling import make_key
from data_pipeline.segmentation import crop_choice, rare_class
from data_pipeline.segmentation.segmentation_set import SegmentationSet

KEY = make_key(0, "source", "rare classes")
ROAD, SKY, TRAIN, IGNORED_ID = 7, 23, 31, 4  # ids of GTA5's files; train ids 0, 10 and 16
WHERE = "config.mixing.rare_classes"


@pytest.fixture(scope="module")
def case(golden):
    return golden("sota_rcs")[""]


def drawing(counts, **settings):
    values = dict(temperature=0.01, min_pixels=120, min_crop_ratio=0.0) | settings
    names = tuple(f"class{k}" for k in range(counts.shape[1]))
    return rare_class.from_config(values, counts, names, name="gta5", where=WHERE)


def test_probabilities_of_classes_are_the_authors(case):
    for temperature in between(case, "T", "_probs"):
        classes, expected = case[f"T{temperature}_classes"], case[f"T{temperature}_probs"]
        found = rare_class.class_probabilities(case["counts"], float(temperature))
        # theirs are a softmax in float32 of numbers near 100
        np.testing.assert_allclose(found[classes], expected, rtol=1e-4, atol=5e-6)
        absent = np.setdiff1d(np.arange(len(found)), classes)
        assert not found[absent].any() and not case["counts"][:, absent].any()


def test_a_class_that_no_image_has_takes_no_part(case):
    counts = np.insert(case["counts"], 1, 0, axis=1)
    found = rare_class.class_probabilities(counts, 0.1)
    assert found[1] == 0 and found[0] > 0


def of_file(case, **settings):
    """`drawing` with the file's least number of pixels, which it holds as what is eligible."""
    too_few = int(case["counts"][~case["eligible"]].max(initial=0))
    return drawing(case["counts"], min_pixels=too_few, **settings)


def test_images_of_a_class_are_those_with_more_pixels_than_asked_for(case):
    rare = of_file(case)
    for k, rows in zip(rare.classes, rare.eligible, strict=True):
        np.testing.assert_array_equal(rows, np.flatnonzero(case["eligible"][:, k]))
    exactly = np.array([[120, 500], [121, 500]])
    assert drawing(exactly).eligible[0].tolist() == [1]


def test_a_crop_is_drawn_again_as_often_as_the_authors_draw_it(case):
    """A label of eleven blocks side by side, each as large as the crop; block j holds as many
    pixels of the class as their crop j did.
    """
    rows, last = case["crop_pixels_seen"], set()
    side = int(np.ceil(np.sqrt(rows.max())))
    for seen in rows:
        label = np.zeros((side, side * len(seen)), np.uint8)
        for j, count in enumerate(np.maximum(seen, 0)):
            block = np.zeros(side * side, np.uint8)
            block[:count] = 7
            label[:, j * side : (j + 1) * side] = block.reshape(side, side)
        spare = label.shape[1] - side + 1
        places = [(0.0, (j * side + 0.5) / spare) for j in range(len(seen))]
        wanted = crop_choice.Wanted(7, float(case["crop_needed"]))
        assert len(places) == 1 + crop_choice.num_further(1.0, is_wanted=True)
        _, left = crop_choice.choose(label, (side, side), np.array(places), 1.0, wanted)
        last.add(left // side)
        assert left == side * np.flatnonzero(seen >= 0)[-1]
    assert len(last) > 1, "some at once, some later"


def test_classes_and_images_come_as_often_as_they_should(case):
    rare = of_file(case, temperature=0.1)
    drawn = [rare.drawn(step, 50, KEY) for step in range(200)]
    rows, classes = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    probabilities = rare_class.class_probabilities(case["counts"], 0.1)
    shares = np.bincount(classes, minlength=len(probabilities)) / len(classes)
    # four deviations of a share of 10,000 draws
    bound = 4 * np.sqrt(probabilities * (1 - probabilities) / len(classes))
    assert (np.abs(shares - probabilities) <= bound + 1e-3).all()
    assert case["eligible"][rows, classes].all(), "an image holds enough of its class"
    k, eligible = max(zip(rare.classes, rare.eligible, strict=True), key=lambda x: shares[x[0]])
    counts = np.bincount(rows[classes == k], minlength=len(case["counts"]))[eligible]
    expected = counts.sum() / len(eligible)
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected), "each image alike"


def test_a_draw_is_a_function_of_key_and_step_alone(case):
    rare = of_file(case)
    first = [np.stack(rare.drawn(step, 4, KEY)) for step in range(6)]
    for step in (5, 0, 3):
        np.testing.assert_array_equal(np.stack(of_file(case).drawn(step, 4, KEY)),
                                      first[step])  # fmt: skip
    assert len({drawn.tobytes() for drawn in first}) == 6
    assert (np.stack(rare.drawn(0, 4, KEY + 1)) != first[0]).any()


def test_the_order_is_the_same_on_every_machine():
    # Frozen: a change here means that no earlier run can be resumed or repeated.
    counts = (np.arange(5000)[:, None] * np.array([7, 3, 1]) % np.array([900, 400, 130])) ** 2
    rows, classes = drawing(counts, temperature=0.5).drawn(1000, 6, 0)
    assert (rows.tolist(), classes.tolist()) == FROZEN


FROZEN = ([4412, 856, 2595, 3581, 4483, 3003], [1, 2, 2, 2, 2, 2])


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(min_pixels=800), r"rare_classes.min_pixels=800: no image of gta5 has more pixels of"
         r" 'class1' than that, the most are 700; set"),
        (dict(temperature=0.0), r"rare_classes.temperature=0: .*above 0"),
        (dict(min_crop_ratio=-1.0), "must not be negative"),
        (dict(ratio=2.0), f"{WHERE}.ratio is unknown; known: temperature, min_pixels"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_one_line(settings, message):
    counts = np.array([[9000, 700, 0], [9000, 0, 0]])
    with pytest.raises(DataError, match=message) as error:
        drawing(counts, **settings)
    assert "\n" not in str(error.value)


def test_labels_without_any_class_are_an_error():
    with pytest.raises(DataError, match="none of 3 labels contains a class"):
        drawing(np.zeros((3, 19), int))


@pytest.fixture
def gta5(tmp_path):
    """Two labels of 3 x 4 pixels: half road, a quarter sky, a quarter ignored; road and train."""
    labels = {"00001": [ROAD, ROAD, SKY, IGNORED_ID], "00002": [ROAD, ROAD, ROAD, TRAIN]}
    return make_set(tmp_path / "gta5", labels)


def test_pixels_are_counted_once_and_kept(gta5, tmp_path, monkeypatch):
    cache, told = tmp_path / "made" / "pixels.json", []
    found = rare_class.pixels_per_class(
        gta5, cache=cache, progress=lambda done, total: told.append((done, total))
    )
    expected = np.zeros((2, 19), np.uint32)
    expected[0, [0, 10]], expected[1, [0, 16]] = (6, 3), (9, 3)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint32 and told == [(1, 2), (2, 2)]

    def fail(self, index):
        raise AssertionError(f"label {index} was read")

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationSet, "read_label", fail)
        np.testing.assert_array_equal(rare_class.pixels_per_class(gta5, cache=cache), expected)
    record = json.loads(cache.read_text())
    cache.write_text(json.dumps(record | {"pixels": "00" + record["pixels"][2:]}))
    np.testing.assert_array_equal(rare_class.pixels_per_class(gta5, cache=cache), expected)
    assert json.loads(cache.read_text()) == record, "a broken file is made anew"


def test_what_a_killed_process_left_goes_with_the_next_write(gta5, tmp_path):
    (tmp_path / ".pixels.json.0123abcd").write_text("{")
    rare_class.pixels_per_class(gta5, cache=tmp_path / "pixels.json")
    assert not list(tmp_path.glob(".pixels*")) and (tmp_path / "pixels.json").exists()


def test_a_write_that_another_process_swept_is_no_error(gta5, tmp_path, monkeypatch):
    def swept(unfinished, cache):
        raise FileNotFoundError(unfinished)

    monkeypatch.setattr("os.replace", swept)
    rare_class.pixels_per_class(gta5, cache=tmp_path / "pixels.json")


def test_pixels_of_other_data_are_counted_anew_and_a_warning_says_so(gta5, tmp_path):
    cache = tmp_path / "pixels.json"
    rare_class.pixels_per_class(gta5, cache=cache)
    other = make_set(tmp_path / "again", {"00001": [SKY] * 4, "00007": [SKY] * 4})
    with pytest.warns(
        UserWarning, match=r"pixels.json: was made of other data \(fingerprint, .* differ\)"
    ):
        found = rare_class.pixels_per_class(other, cache=cache)
    assert found[:, 10].tolist() == [12, 12] and found.sum() == 24


LABEL = np.zeros((8, 20), np.uint8)
LABEL[:, 8:] = np.tile([1, 2, 3, 255], (8, 3))  # a quarter of each, and of what is ignored


@pytest.mark.parametrize(
    "lefts, expected",
    [
        ([12, 0], 12),  # a third of each class: the first will do
        ([0, 12], 12),  # one class alone
        ([3, 4, 5], 4),  # at 3 class 0 has 5 of 8 labelled columns, at 4 4 of 7
        ([0] * 10 + [1, 12], 1),  # the eleventh is taken unchecked
    ],
)
def test_a_crop_of_one_class_is_drawn_again(lefts, expected):
    places = np.array([(0.0, (left + 0.5) / 13) for left in lefts])
    assert crop_choice.choose(LABEL, (8, 8), places, 0.6, None) == (0, expected)


def test_ignored_pixels_do_not_count_in_a_class_share():
    """Columns 5 to 12 hold 0 thrice, then 1, 2, 3, ignored, 1: three of seven that have a class."""
    for share, expected in ((3.01 / 7, 5), (2.99 / 7, 12)):
        places = np.array([(0.0, (left + 0.5) / 13) for left in (5, 12)])
        assert crop_choice.choose(LABEL, (8, 8), places, share, None) == (0, expected)


def test_both_rules_hold_together_and_the_inner_one_comes_first():
    """Class 3 is wanted, with more pixels than the 8 of one column; no class may have 75 %."""
    # 0 shows one class, and 4 one column of class 3
    places = np.array([(0.0, (left + 0.5) / 13) for left in [0, 4, 0, 12]])
    wanted = crop_choice.Wanted(3, 8)
    assert crop_choice.choose(LABEL, (8, 8), places, 0.75, wanted) == (0, 12)
    assert crop_choice.num_further(0.75, is_wanted=True) == 11 * 11 - 1
    assert crop_choice.num_further(0.75, is_wanted=False) == 10
    assert crop_choice.num_further(1.0, is_wanted=False) == 0
