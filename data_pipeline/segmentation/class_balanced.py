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
import json
import os
import pathlib
import uuid
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.sampling import permuted, random_words, subkey
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
      cache: a file that keeps the answer. It is written under a temporary name and renamed, made
        anew when it is broken or of another set, and made with its folder if need be. A set is
        known by its fingerprint and the sizes of its label files. Where it cannot be written the
        answer is the same and a warning says that the next run reads the labels again.
      progress: called with (labels read, N) after each; not called when the cache has the answer.
    Returns: bool [N, K].
    Raises: DataError for a set without labels, and as SegmentationSet.read_label does for a label
      that is missing or wrong.
    """
    cache = pathlib.Path(os.path.abspath(os.path.expanduser(cache)))
    identity = _identity(image_set)
    present = _load(cache, identity)
    if present is None:
        present = _read_all(image_set, progress)
        try:
            _save(cache, identity, present)
        # minutes of reading are not thrown away for a folder that is read-only
        except OSError as error:
            warnings.warn(
                f"{cache}: cannot be written: {error}; the next run reads all {len(image_set):,}"
                " labels again",
                stacklevel=2,
            )
    return present


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


def _read_all(image_set, progress) -> np.ndarray:
    present, total = np.zeros((len(image_set), image_set.num_classes), bool), len(image_set)

    def classes_of(index):
        is_there = np.zeros(256, bool)
        is_there[image_set.read_label(index)] = True
        return is_there[: image_set.num_classes]

    # PIL and numpy let go of the interpreter while they work
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # an error takes the queued files along
        for i, is_there in enumerate(pool.map(classes_of, range(total))):
            present[i] = is_there
            progress(i + 1, total)
    return present


def _identity(image_set) -> dict:
    """What the cache must have been made of. The sizes tell labels apart that were replaced under
    the same names.
    """
    if image_set.label_paths is None:
        raise DataError(
            f"{image_set.name}: a set without labels; class-balanced sampling needs the labels of"
            " its images"
        )
    try:
        sizes = np.array([os.path.getsize(path) for path in image_set.label_paths], "<i8")
    except OSError as error:
        raise DataError(
            f"{error.filename}: this label cannot be found: {error.strerror}; unpack the labels of"
            f" {image_set.name} again"
        ) from error
    return {
        "version": VERSION,
        "set": image_set.name,
        "count": len(image_set),
        "classes": list(image_set.class_names),
        "fingerprint": image_set.fingerprint(),
        "label_sizes": zlib.crc32(sizes.tobytes()),
    }


def _load(cache, identity) -> np.ndarray | None:
    """bool [N, K], or None when the file is absent, broken or of another set."""
    try:
        found = json.loads(cache.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or found.get("of") != identity:
            return None
        packed = bytes.fromhex(found["present"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    shape = identity["count"], len(identity["classes"])
    size = shape[0] * shape[1]
    if len(packed) != -(-size // 8) or zlib.crc32(packed) != found.get("checksum"):
        return None
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=size).reshape(shape).astype(bool)


def _save(cache, identity, present):
    packed = np.packbits(present).tobytes()
    record = {"of": identity, "present": packed.hex(), "checksum": zlib.crc32(packed)}
    cache.parent.mkdir(parents=True, exist_ok=True)
    # processes on several machines may write at once
    unfinished = cache.with_name(f".{cache.name}.{uuid.uuid4().hex}")
    try:
        unfinished.write_text(json.dumps(record) + "\n", encoding="utf-8")
        os.replace(unfinished, cache)
    finally:
        unfinished.unlink(missing_ok=True)
