"""Labels of many sizes in batches of few shapes, so that what reads them is compiled a few times:
each label lies in the upper left corner of an array that has room for all of its batch.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data_pipeline.batch_parts import padded
from data_pipeline.segmentation.labels import IGNORED
from data_pipeline.segmentation.segmentation_set import SegmentationSet, image_size_hw

# Pixels of the labels of a batch with their room, where sizes differ: 256 MiB as int32. Memory
# only; ours.
_MOST_PIXELS = 2**26
# A side of a room has one of eight lengths between a power of two and the next, 32 pixels apart at
# least: at most an eighth longer than it need be. Ours.
_STEPS, _LEAST_STEP = 8, 32


class Plan(NamedTuple):
    """What an evaluation shows in one batch.

    Attributes:
      rows: int64 [R] of the set, -1 pads.
      room_hw: (height, width) of the arrays that labels lie in.
    """

    rows: np.ndarray
    room_hw: tuple[int, int]


def own_sizes(image_set: SegmentationSet, with_labels: bool) -> np.ndarray:
    """int32 [N, 2], the height and width of every label, or without labels of every image; from
    the heads of the files.
    """
    if with_labels and image_set.label_scale != 1:
        return np.array([image_set.label_hw(path) for path in image_set.label_paths], np.int32)
    return np.array([image_size_hw(path) for path in image_set.image_paths], np.int32)


def plan_of(sizes: np.ndarray, batch_size: int) -> Iterator[Plan]:
    """All rows in order, batch_size of them a batch, the last one padded.

    In a set of one size the room is that size. In others it is rounded up, and a batch has fewer
    rows, and padding, where its labels would take more than 256 MiB.

    Args:
      sizes: int [N, 2], height and width of each row.
    """
    is_of_one_size = (sizes == sizes[0]).all()
    rows, largest = [], np.zeros(2, int)
    for row, size in enumerate(sizes):
        wanted = np.maximum(largest, size)
        is_too_much = not is_of_one_size and batch_size * wanted.prod() > _MOST_PIXELS
        if rows and (len(rows) == batch_size or is_too_much):
            yield _plan(rows, batch_size, largest, is_of_one_size)
            rows, wanted = [], size
        rows.append(row)
        largest = np.asarray(wanted, int)
    yield _plan(rows, batch_size, largest, is_of_one_size)


def _plan(rows, batch_size, largest, is_of_one_size):
    sides = largest if is_of_one_size else map(rounded_up, largest)
    return Plan(padded(rows, batch_size), tuple(map(int, sides)))


def rounded_up(side: int) -> int:
    """The next length that a side of a room may have."""
    step = max(2 ** (int(side).bit_length() - 1) // _STEPS, _LEAST_STEP)
    return -(-int(side) // step) * step


def in_room(label: np.ndarray, room_hw: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W] of room_hw, ignored beyond the label; the label itself where it fills it."""
    if label.shape == tuple(room_hw):
        return label
    room = np.full(room_hw, IGNORED, np.uint8)
    room[: label.shape[0], : label.shape[1]] = label
    return room
