"""Crops that are centred on a pixel of a rare class (CRST). The rules of DAFormer:
test_rare_class.py and test_transforms.py.
"""

import numpy as np
import pytest

from data_pipeline.segmentation.crop_choice import Centred, centred, place_of

CROP_HW = (4, 6)
ANYWHERE = (0.5, 0.25)


def label():
    """Class 5 at one pixel in the middle and class 7 at two corners of a frame of class 0."""
    made = np.zeros((12, 20), np.uint8)
    made[6, 10], made[0, 0], made[11, 19] = 5, 7, 7
    return made


def crop(train_ids, *numbers, probability=0.8, of=None):
    uniforms = np.float32([ANYWHERE, numbers[:2], (*numbers[2:], 0.0)])
    return centred(
        label() if of is None else of, CROP_HW, uniforms, Centred(train_ids, probability)
    )


def test_a_crop_is_centred_as_far_as_the_frame_goes():
    assert crop((5,), 0.0, 0.0, 0.0) == (4, 7)  # pixel (6, 10) is at (2, 3) of the crop
    assert crop((7,), 0.0, 0.0, 0.0) == (0, 0)
    assert crop((7,), 0.0, 0.0, 0.99) == (8, 14)


def test_a_class_is_drawn_of_those_that_the_label_shows():
    assert crop((9, 5, 7), 0.0, 0.49, 0.0) == (4, 7)
    assert crop((9, 5, 7), 0.0, 0.51, 0.0) == (0, 0)


@pytest.mark.parametrize("train_ids, chance", [((5,), 0.81), ((9,), 0.0), ((), 0.0), ((255,), 0.0)])
def test_other_crops_lie_anywhere(train_ids, chance):
    assert crop(train_ids, chance, 0.0, 0.0) == place_of(label().shape, CROP_HW, *ANYWHERE)


def test_the_largest_numbers_stay_within():
    largest = np.nextafter(np.float32(1), np.float32(0))
    full = np.full((12, 20), 5, np.uint8)
    assert crop((5,), 0.0, largest, largest, of=full) == (8, 14)
