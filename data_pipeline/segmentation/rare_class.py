"""Rare class sampling of a segmentation source: a class is drawn first, the rarer the likelier, and
then an image that holds enough of it.

Source: DAFormer (Hoyer, Dai and Van Gool, CVPR 2022, section 3.3), as its released code has it
(mmseg/datasets/uda_dataset.py, which HRDA and MIC have unchanged). Differences from that code:

* Step and place in the batch decide what is drawn, so that any step can be asked for directly.
* The pixels of every label are counted here, in one pass whose result is kept; there
  tools/convert_datasets writes two JSON files.
* The target's images come without replacement, an epoch after the other, as in the other methods;
  there each is drawn from all of them.

"At least" of the paper is "more than" here, as in that code.

Which crop of the image is taken, crop_choice.py decides.
"""

import dataclasses
import os
import warnings
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.preprocess import checked_keys
from data_pipeline.sampling import random_words
from data_pipeline.segmentation.label_statistics import Kind, found_or_read
from data_pipeline.segmentation.segmentation_set import SegmentationSet

VERSION = 1  # of the file that keeps the counts
SETTINGS = ("temperature", "min_pixels", "min_crop_ratio")


def pixels_per_class(
    image_set: SegmentationSet,
    *,
    cache: str | os.PathLike,
    progress: Callable[[int, int], None] = lambda done, total: None,
    tell: Callable[[str], None] = warnings.warn,
) -> np.ndarray:
    """How many pixels each label has of each class, at its full resolution. Reads every label once,
    in a pool of threads, which for GTA5 takes minutes.

    Args:
      image_set: N labelled images of K classes.
      cache, progress, tell: see label_statistics.found_or_read, as what is raised.
    Returns: uint32 [N, K]; ignored pixels count nowhere.
    """
    return found_or_read(image_set, _PIXELS, cache=cache, progress=progress, tell=tell)


def _pixels_of(label, num_classes):
    return np.bincount(label.ravel(), minlength=256)[:num_classes]


def _packed(counts):
    # by class, since the numbers of one class resemble each other: half of what by image takes
    return zlib.compress(np.ascontiguousarray(counts.T, "<u4").tobytes())


def _unpacked(packed, shape):
    try:
        numbers = np.frombuffer(zlib.decompress(packed), "<u4")
    except zlib.error:
        return None
    if numbers.size != shape[0] * shape[1]:
        return None
    return numbers.reshape(shape[::-1]).T.astype(np.uint32)


_PIXELS = Kind(
    name="pixels",
    version=VERSION,
    use="rare class sampling",
    of_label=_pixels_of,
    dtype=np.uint32,
    pack=_packed,
    unpack=_unpacked,
)


def class_probabilities(counts: np.ndarray, temperature: float) -> np.ndarray:
    """How often each class is drawn: P(c) = softmax((1 - f_c) / temperature) over the classes that
    occur, f_c being a class's share of all counted pixels. DAFormer, equations 5 and 6.

    Args:
      counts: int [N, K] of pixels_per_class.
      temperature: above 0; the larger, the more alike are the classes.
    Returns: float64 [K], 0 for a class that no image contains.
    Raises: DataError when no image contains any class.
    """
    totals = counts.sum(axis=0, dtype=np.float64)  # [K]
    occurs = totals > 0
    if not occurs.any():
        raise DataError(
            f"none of {len(counts):,} labels contains a class; rare class sampling needs labels"
            " with classes"
        )
    # A sum of its own, so that a class that no image has changes no bit of the others.
    frequencies = totals[occurs] / totals[occurs].sum()
    logits = (1.0 - frequencies) / temperature
    weights = np.exp(logits - logits.max())
    probabilities = np.zeros(len(totals))
    probabilities[occurs] = weights / weights.sum()
    return probabilities


@dataclasses.dataclass(frozen=True)
class RareClasses:
    """What is drawn in each step of a part.

    Attributes:
      classes: int64 [C], those that occur, ascending.
      cumulative: float64 [C], of their probabilities; ends with their sum.
      eligible: C arrays int64, the images that have more than min_pixels of each.
      min_crop_pixels: a crop shows enough of its class when it has more pixels of it than this; 0
        or more, or None where every crop will do.
    """

    classes: np.ndarray
    cumulative: np.ndarray
    eligible: tuple[np.ndarray, ...]
    min_crop_pixels: float | None

    def drawn(self, step: int, batch_size: int, key: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows, classes) of a batch, int64 [batch_size] each: image rows[i] was drawn for
        classes[i].

        Args:
          step: 0-based; any step can be asked for.
          key: of this order, e.g. make_key(seed, "source", "rare classes").
        """
        # 53 bits: all that a float64 holds
        words = random_words(step, 2 * batch_size, key) >> np.uint64(11)
        uniform = (words.astype(np.float64) * 2.0**-53).reshape(batch_size, 2)
        places = np.searchsorted(self.cumulative, uniform[:, 0] * self.cumulative[-1], "right")
        # of one image after the other: each class has its own number of images
        rows = [
            self.eligible[place][int(number * len(self.eligible[place]))]
            for place, number in zip(places, uniform[:, 1], strict=True)
        ]
        return np.array(rows, np.int64), self.classes[places]


def from_config(
    config: Mapping, counts: np.ndarray, class_names: tuple[str, ...], *, name: str, where: str
) -> RareClasses:
    """RareClasses of a mapping (a ConfigDict too) with the keys

        temperature      above 0, see class_probabilities; DAFormer 0.01
        min_pixels       images with more pixels of a class than this can be drawn for it, at full
                         resolution; DAFormer 3000
        min_crop_ratio   a crop is drawn again until it shows more than min_pixels times this of the
                         class; 0: every crop will do. DAFormer 0.5, HRDA and MIC 2.0

    Args:
      counts: int [N, K] of pixels_per_class.
      class_names: K names.
      name: of the set, for messages.
      where: what messages call the mapping, such as "config.mixing.rare_classes".
    Raises: DataError for a missing or unknown key, a temperature that is not above 0, and a class
      that occurs but of which no image has more than min_pixels, which it names.
    """
    settings = checked_keys(config, SETTINGS, where)
    temperature, min_pixels = float(settings["temperature"]), int(settings["min_pixels"])
    ratio = float(settings["min_crop_ratio"])
    if temperature <= 0:
        raise DataError(
            f"{where}.temperature={temperature:g}: rare class sampling needs a temperature above 0;"
            " DAFormer's is 0.01"
        )
    if min_pixels < 0 or ratio < 0:
        raise DataError(f"{where}: min_pixels and min_crop_ratio must not be negative")
    probabilities = class_probabilities(counts, temperature)
    # not by probability, which may be 0 in float64 for a common class
    classes = np.flatnonzero(counts.any(axis=0))
    eligible = []
    for k in classes:
        eligible.append(np.flatnonzero(counts[:, k] > min_pixels))
        if not len(eligible[-1]):
            raise DataError(
                f"{where}.min_pixels={min_pixels}: no image of {name} has more pixels of"
                f" '{class_names[k]}' than that, the most are {int(counts[:, k].max()):,}; set"
                f" {where}.min_pixels below that"
            )
    return RareClasses(
        classes,
        np.cumsum(probabilities[classes]),
        tuple(eligible),
        min_pixels * ratio if ratio else None,
    )
