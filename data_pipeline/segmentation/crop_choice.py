"""Which of several random crops an image gets, by what its label holds there.

Two rules of DAFormer's loader, one inside of the other. RandomCrop of mmsegmentation
(`cat_max_ratio`): a crop in which one class has too large a share of the labelled pixels, or in
which there is no second class, is drawn again. Rare class sampling (`rcs_min_crop_ratio` of
mmseg/datasets/uda_dataset.py): a crop that shows too little of the class that its image was drawn
for is drawn again. After TRIES new crops a rule takes the last one unchecked.

CRST's rule (mine_chance of crst_seg.py) excludes these: most crops are centred on a pixel of a rare
class.

A crop is a pair of uniform random numbers, of which there are enough for the worst case: so the
choice is a function of the label and of them.
"""

from typing import NamedTuple

import numpy as np

from data_pipeline.segmentation.labels import IGNORED

TRIES = 10  # new crops after the first, of either rule: both loops of DAFormer's code


class Wanted(NamedTuple):
    """What a crop of one image should show.

    Attributes:
      train_id: of the class.
      min_pixels: a crop with more pixels of it than this will do.
    """

    train_id: int
    min_pixels: float


class Centred(NamedTuple):
    """That a crop is centred on a pixel of a rare class that the label shows, as far as the frame
    goes.

    Attributes:
      train_ids: of the rare classes.
      probability: of such a crop; others lie anywhere, as all do where there is no such pixel.
    """

    train_ids: tuple[int, ...]
    probability: float

    num_further = 2  # pairs of numbers beside those of a crop that lies anywhere


def num_further(max_class_share: float, is_wanted: bool) -> int:
    """Crops that may be drawn for an image after its first.

    Args:
      max_class_share: see `choose`; 1 or more is no rule.
      is_wanted: whether there is a Wanted.
    """
    of_share = 1 + TRIES * (max_class_share < 1)
    return of_share * (1 + TRIES * is_wanted) - 1


def choose(
    label: np.ndarray,
    crop_hw: tuple[int, int],
    uniforms: np.ndarray,
    max_class_share: float,
    wanted: Wanted | None,
) -> tuple[int, int]:
    """(top, left) of the crop.

    Args:
      label: uint8 [H, W] train ids, at least as large as the crop.
      crop_hw: (height, width).
      uniforms: float32 [1 + num_further(...), 2] in [0, 1), in the order in which crops are drawn.
      max_class_share: a crop will do in which the largest class has less than this share of the
        pixels that have a class, and there are two classes or more; 1 or more is no rule.
      wanted: what the crop should show; None is no rule.
    """
    places = iter(uniforms)

    def window():
        down, right = next(places)
        return place_of(label.shape, crop_hw, down, right)

    def shows_several(place):
        counts = np.bincount(_part(label, place, crop_hw).ravel(), minlength=256)[:IGNORED]
        return (counts > 0).sum() > 1 and counts.max() < max_class_share * counts.sum()

    def drawn():
        place = window()
        for _ in range(TRIES if max_class_share < 1 else 0):
            if shows_several(place):
                break
            place = window()
        return place

    place = drawn()
    for _ in range(TRIES if wanted is not None else 0):
        if (_part(label, place, crop_hw) == wanted.train_id).sum() > wanted.min_pixels:
            break
        place = drawn()
    return place


def centred(
    label: np.ndarray, crop_hw: tuple[int, int], uniforms: np.ndarray, rule: Centred
) -> tuple[int, int]:
    """(top, left) of a crop by this rule. Of several rare classes in the label each is as likely,
    and so is each of its pixels.

    Args:
      label, crop_hw: as `choose`.
      uniforms: float32 [1 + Centred.num_further, 2] in [0, 1): a place anywhere; whether the crop
        is centred, and the class; the pixel, and one that is not used.
    """
    (down, right), (chance, which), (pixel, _) = uniforms.astype(np.float64)
    shown = [train_id for train_id in rule.train_ids if (label == train_id).any()]
    if chance >= rule.probability or not shown:
        return place_of(label.shape, crop_hw, down, right)
    pixels = np.flatnonzero(label == shown[int(which * len(shown))])
    centre = divmod(int(pixels[int(pixel * len(pixels))]), label.shape[1])
    top, left = (
        min(max(at - side // 2, 0), size - side)
        for at, side, size in zip(centre, crop_hw, label.shape, strict=True)
    )
    return top, left


def place_of(
    size_hw: tuple[int, int], crop_hw: tuple[int, int], down: float, right: float
) -> tuple[int, int]:
    """(top, left) of a crop, each with the same probability, from two numbers in [0, 1)."""
    return (
        int(down * (size_hw[0] - crop_hw[0] + 1)),
        int(right * (size_hw[1] - crop_hw[1] + 1)),
    )


def _part(label, place, crop_hw):
    return label[place[0] : place[0] + crop_hw[0], place[1] : place[1] + crop_hw[1]]
