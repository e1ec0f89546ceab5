"""Which images and pixels an analysis looks at."""

import numpy as np

from dajax.analysis.samples import some_rows, stratified_rows


def test_rows_are_drawn_once_each_and_the_same_for_one_seed():
    rows = some_rows(50, 20, seed=3)
    assert len(set(rows.tolist())) == 20 and (np.diff(rows) > 0).all() and rows.max() < 50
    np.testing.assert_array_equal(rows, some_rows(50, 20, seed=3))
    assert some_rows(50, 20, seed=4).tolist() != rows.tolist()
    np.testing.assert_array_equal(some_rows(5, 20, seed=0), np.arange(5))


def test_rare_classes_are_all_there_and_the_others_share_what_is_left():
    labels = np.repeat([0, 1, 2, 255], [100, 3, 40, 30])
    drawn = stratified_rows(labels, 43, num_classes=4, seed=0)
    counts = np.bincount(labels[drawn], minlength=4)
    assert counts.tolist() == [20, 3, 20, 0], "an even share, class 3 has no pixel, 255 counts not"
    np.testing.assert_array_equal(drawn, stratified_rows(labels, 43, num_classes=4, seed=0))


def test_no_labelled_pixel_gives_no_row():
    assert stratified_rows(np.full((4, 4), 255), 10, num_classes=3, seed=0).shape == (0,)
