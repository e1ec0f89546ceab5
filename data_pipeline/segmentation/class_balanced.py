"""Class-balanced sampling of a segmentation source: labels that hold rare classes come more often.

Source: SPCL (Xie et al. 2021), released code only; the paper does not mention it. There a list of
files is drawn before training, in blocks of 3000 over which the frequencies of the classes are
counted. Here draw number step * batch_size + i lies in block draw // 3000, and a block is a
function of (key, number of the block) alone, so that any step can be asked for directly. Hence
three differences from the released code:

* The lists of files by class start anew in each block, newly shuffled. There the place in a list
  carries over from block to block, a list is in the order of the files until it is first exhausted,
  and then skips a file (its index restarts at 1).
* The draws of a block are shuffled within it. There a DataLoader shuffles the whole list.
* There is no end; the list there is as long as the training.
"""

import functools
import os
from collections.abc import Callable

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.sampling import permuted, random_words, subkey
from data_pipeline.segmentation.label_statistics import Kind, found_or_read
from data_pipeline.segmentation.segmentation_set import SegmentationSet

BLOCK = 3000  # SUB_EPOCH_SIZE of the released code
VERSION = 1  # of the cache file

# released code: a class not yet seen weighs 1 / log(1.01) = 100, one that is all that was seen 1 /
# log(2.01) = 1.4
_LOG_OFFSET = 1.01


def classes_present(
    image_set: SegmentationSet,
    *,
    cache: str | os.PathLike,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Which classes the label of each image contains. Reads every label once, in a pool of threads,
    which for GTA5 takes minutes.

    Args:
      image_set: N labelled images of K classes.
      cache, progress: see label_statistics.found_or_read, as what is raised.
    Returns: bool [N, K].
    """
    return found_or_read(image_set, _PRESENT, cache=cache, progress=progress)


def _classes_of(label, num_classes):
    is_there = np.zeros(256, bool)
    is_there[label] = True
    return is_there[:num_classes]


def _packed(present):
    return np.packbits(present).tobytes()


def _unpacked(packed, shape):
    size = shape[0] * shape[1]
    if len(packed) != -(-size // 8):
        return None
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=size).reshape(shape).astype(bool)


_PRESENT = Kind(
    name="present",
    version=VERSION,
    use="class-balanced sampling",
    of_label=_classes_of,
    dtype=bool,
    pack=_packed,
    unpack=_unpacked,
)


def rows(step: int, batch_size: int, present: np.ndarray, key: int) -> np.ndarray:
    """Rows of a batch, int64 [batch_size] with 0 <= row < N: the less was drawn of a class, the
    likelier it is drawn.

    A draw picks class c with p_c ~ 1 / log(1.01 + freq_c), then the next file of those that contain
    c. freq_c: how often the files drawn so far in the block contain c, as a share of all their
    classes. The first request of a block costs about 0.1 s; the last ones are remembered, which
    changes nothing but the time.

    Args:
      step: 0-based; any step can be asked for.
      present: bool [N, K] of classes_present. A class that no file contains is never drawn, nor is
        a file without a class.
      key: of this order, e.g. make_key(seed, "source", "class_balanced").
    Raises: DataError when no file contains any class.
    """
    present = np.asarray(present, bool)
    # by value, as a cache must know it: 0.1 ms for 25,000 files of 19 classes
    packed = np.packbits(present).tobytes()
    number, position = np.divmod(step * batch_size + np.arange(batch_size), BLOCK)
    batch = np.empty(batch_size, np.int64)
    for block in np.unique(number).tolist():
        is_here = number == block
        batch[is_here] = _block(packed, present.shape, key, block)[position[is_here]]
    return batch


# a batch can span two; the rest is for readers that run ahead, and for two orders at once
@functools.lru_cache(maxsize=8)
def _block(packed: bytes, shape: tuple[int, int], key: int, number: int) -> np.ndarray:
    """The rows of one block, int64 [BLOCK]; `packed` is np.packbits of bool [N, K]."""
    present = (
        np.unpackbits(np.frombuffer(packed, np.uint8), count=shape[0] * shape[1])
        .reshape(shape)
        .astype(bool)
    )
    if not present.any():
        raise DataError(
            f"none of {shape[0]:,} labels contains a class; a class-balanced order needs labels"
            " with classes"
        )
    present = present[:, present.any(axis=0)]  # [N, C], classes that can be drawn
    block_key = int(subkey(key, number))
    # [C, BLOCK]
    next_files = np.stack(
        [
            _shuffled_passes(np.flatnonzero(has), int(subkey(block_key, c)))
            for c, has in enumerate(present.T)
        ]
    )
    # 53 bits: all that a float holds. np.log may differ in its last bit between machines; that
    # moves a draw once in about 1e16.
    uniform = (random_words(number, BLOCK, key) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    counts, num_drawn = np.zeros(present.shape[1]), [0] * present.shape[1]
    drawn = np.empty(BLOCK, np.int64)
    for i in range(BLOCK):
        # before the first draw all are equal
        weights = 1 / np.log(_LOG_OFFSET + counts / max(counts.sum(), 1))
        cumulative = np.cumsum(weights)
        c = int(np.searchsorted(cumulative, uniform[i] * cumulative[-1], side="right"))
        drawn[i] = next_files[c, num_drawn[c]]
        num_drawn[c] += 1
        counts += present[drawn[i]]
    # a number that no class has
    order = permuted(np.arange(BLOCK), BLOCK, int(subkey(block_key, present.shape[1])))
    return drawn[order]


def _shuffled_passes(files: np.ndarray, key: int) -> np.ndarray:
    """BLOCK rows: all files in random order, then all in another, and so on."""
    passes, position = np.divmod(np.arange(BLOCK), len(files))
    return files[permuted(position, len(files), subkey(key, passes))]
