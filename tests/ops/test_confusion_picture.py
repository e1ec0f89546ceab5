"""The picture of a confusion matrix: its colours are the shares of each row."""

import numpy as np
import pytest

from dajax.ops.confusion_picture import confusion_picture
from dajax.ops.legend import legend


def test_a_cell_is_as_dark_as_its_share_of_the_true_class():
    picture = confusion_picture(np.array([[30, 10], [0, 5]]), ["cat", "dog"])
    cells = picture[-68:, :, :]  # 2 rows of 34 pixels
    left = int(np.flatnonzero((cells[60] == (20, 60, 130)).all(-1))[0]) - 34
    corner = lambda row, column: cells[row * 34 + 2, left + column * 34 + 2].tolist()
    assert corner(1, 1) == [20, 60, 130] and corner(1, 0) == [255, 255, 255]
    # 75 and 25 per cent of the way from white
    assert corner(0, 0) == [79, 109, 161] and corner(0, 1) == [196, 206, 224]


def test_a_class_without_images_is_a_grey_row():
    picture = confusion_picture(np.array([[0, 0], [1, 0]]), ["a", "b"])
    assert (picture[-66] == 225).all(-1).sum() == 68


@pytest.mark.parametrize("size", [1, 40, 41, 345])
def test_any_number_of_classes_has_a_picture_of_readable_size(size):
    picture = confusion_picture(np.eye(size, dtype=np.int64), ["name " * 20] * size)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert max(picture.shape) < 1800
    full = (picture == (20, 60, 130)).all(-1).sum()
    assert full >= size * 4, "a cell of the diagonal is two pixels a side at least"


def test_a_legend_has_every_colour_and_is_as_wide_as_asked():
    drawn = legend(300, [("road", (128, 64, 128)), ("x" * 200, (1, 2, 3))])
    assert drawn.shape[1] == 300
    for color in ((128, 64, 128), (1, 2, 3)):
        assert (drawn == color).all(-1).any()
    assert legend(300, []).shape[1:] == (300, 3)
