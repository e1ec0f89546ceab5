"""Overlapping windows over a large picture."""

import numpy as np
import pytest

from dajax.ops.windows import OVERLAP, blended_classes, starts


@pytest.mark.parametrize("size, window", [(100, 100), (100, 30), (101, 30), (7, 3), (9, 1), (5, 8)])
def test_windows_reach_from_edge_to_edge_and_overlap(size, window):
    found = starts(size, window)
    assert found[0] == 0 and found[-1] == max(size - window, 0)
    gaps = np.diff(found)
    assert (gaps > 0).all() and (gaps <= max(window * (1 - OVERLAP) + 1, 1)).all()


def crops_of(scores, asked=None):
    """f(windows): what a network gives that looks at every pixel for itself."""

    def scores_of(windows):
        if asked is not None:
            asked.extend(windows)
        return [scores[window] for window in windows]

    return scores_of


@pytest.mark.parametrize("window", [(5, 7), (4, 20), (23, 3), (1, 1), (23, 31), (99, 99)])
def test_blending_parts_of_one_map_gives_the_map(window):
    """Whatever the weights are, an average of equal scores is these scores."""
    scores = np.random.default_rng(0).normal(size=(23, 31, 4)).astype(np.float32)
    found = blended_classes((23, 31), window, 4, crops_of(scores))
    np.testing.assert_array_equal(found, scores.argmax(-1))


def test_the_middle_of_a_window_outweighs_its_neighbours_edge():
    """Two windows of six columns on ten: columns 4 and 5 are in both. The left one says class 0
    with strength 1, the right one class 1 with the same: column 4 is the second from the edge of
    the left one and the first of the right one.
    """

    def scores_of(windows):
        sides = [windows[0][1].start == window[1].start for window in windows]
        return [
            np.broadcast_to(np.array([is_left, not is_left], np.float32), (1, 6, 2))
            for is_left in sides
        ]

    assert starts(10, 6) == [0, 4]
    assert blended_classes((1, 10), (1, 6), 2, scores_of)[0].tolist() == [0] * 5 + [1] * 5


def test_rows_of_windows_are_asked_one_after_the_other():
    asked = []
    scores = np.zeros((10, 10, 2), np.float32)
    blended_classes((10, 10), (6, 6), 2, crops_of(scores, asked))
    assert [(rows.start, columns.start) for rows, columns in asked] == [
        (0, 0),
        (0, 4),
        (4, 0),
        (4, 4),
    ]
