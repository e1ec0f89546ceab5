"""What the figures of a report draw: the numbers behind the colours, and where they stand."""

import numpy as np

from dajax.analysis import plots


def test_a_row_of_a_confusion_matrix_is_in_per_cent_of_its_true_class():
    drawn = plots.confusions({"can": np.array([[3, 1], [0, 0]])}, ("cat", "dog"))
    axis = drawn.axes[0]
    (shown,) = axis.images
    np.testing.assert_array_equal(
        np.ma.filled(shown.get_array(), np.nan), [[75, 25], [np.nan, np.nan]]
    )
    assert (axis.get_ylabel(), axis.get_xlabel()) == ("true class", "predicted")
    written = {text.get_text(): text.get_position() for text in axis.texts}
    assert written == {"75": (0, 0), "25": (1, 0)}, "x is the predicted class"


def test_a_class_over_steps_is_a_row_with_gaps():
    drawn = plots.heat_maps({"recall": ([0, 50], [[1.0, None], [3.0, 4.0]])}, ("cat", "dog"))
    shown = np.ma.filled(drawn.axes[0].images[0].get_array(), np.nan)
    np.testing.assert_array_equal(shown, [[1, 3], [np.nan, 4]])


def test_the_star_stands_on_the_chosen_pixel():
    source, target = np.zeros((4, 8, 3), np.uint8), np.zeros((6, 8, 3), np.uint8)
    maps = {"plca": (np.full((2, 4), 0.5), np.full((3, 4), -2.0))}
    drawn = plots.similarity_panels(source, target, maps, source_pixel=(0.25, 0.75))
    of_source, of_target = drawn.axes[0], drawn.axes[1]
    assert of_source.lines[0].get_xydata().tolist() == [[6.0, 1.0]], "column, row"
    assert not of_target.lines
    for axis in drawn.axes[2:4]:
        assert axis.images[0].get_clim() == (-2.0, 2.0), "one scale around zero"


def test_long_names_are_broken_and_stay_within_the_figure():
    names = [f"source_only.optimizer.lr=0.0{i}-seed0: source_only" for i in (1, 2)]
    shown = {name: [0.5] for name in names}
    drawn = plots.bars(shown, dict(zip(names, "rb", strict=True)), [""], ylabel="distance")
    drawn.draw_without_rendering()
    (legend,) = drawn.legends
    box = legend.get_window_extent()
    assert box.x1 <= drawn.bbox.x1 and box.y1 <= drawn.bbox.y1
    shown = ["".join(text.get_text().split()) for text in legend.get_texts()]
    assert shown == [name.replace(" ", "") for name in names]
    matrices = dict.fromkeys(names, np.eye(2, dtype=int))
    axes = plots.confusions(matrices, ("a", "b")).axes[:2]
    assert all("\n" in axis.get_title(loc="left") for axis in axes)


def test_bars_on_a_logarithmic_axis_stand_on_a_whole_power_of_ten():
    shown = {"source": [0.3, None, 20.0], "target": [5.0, 0.0, float("nan")]}
    drawn = plots.bars(shown, {"source": "r", "target": "b"}, "abc", ylabel="%", log=True)
    assert drawn.axes[0].get_ylim()[0] == 0.1
