"""A row of numbers for every label of a set, from one pass over all of them; kept in a file, since
the pass takes minutes.

A set is known by its fingerprint and the sizes of its label files, so the numbers of one set are
never taken for another's.
"""

import json
import os
import pathlib
import uuid
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.segmentation.segmentation_set import SegmentationSet


class Kind(NamedTuple):
    """What is found out of every label, and how a file keeps it.

    Attributes:
      name: of the numbers in the file.
      version: of the file.
      use: what needs the labels, for messages.
      of_label: (label uint8 [H, W], K) -> a row of K numbers.
      dtype: of the rows.
      pack: array [N, K] -> bytes.
      unpack: (bytes, (N, K)) -> array, or None for bytes that are none.
    """

    name: str
    version: int
    use: str
    of_label: Callable[[np.ndarray, int], np.ndarray]
    dtype: type
    pack: Callable[[np.ndarray], bytes]
    unpack: Callable[[bytes, tuple[int, int]], np.ndarray | None]


def found_or_read(
    image_set: SegmentationSet,
    kind: Kind,
    *,
    cache: str | os.PathLike,
    progress: Callable[[int, int], None],
    tell: Callable[[str], None] = warnings.warn,
) -> np.ndarray:
    """The rows of every label, [N, K] of kind.dtype: from the file, or from a pass over all labels
    in a pool of threads.

    Args:
      image_set: N labelled images of K classes.
      kind: what is found out.
      cache: a file that keeps the rows. It is written under a temporary name and renamed, made
        anew when it is broken or of another set, and made with its folder if need be. Where it
        cannot be written the answer is the same.
      progress: called with (labels read, N) after each; not called when the cache has the answer.
      tell: is told where the file was made of other data, and where it cannot be written, so that
        the next run reads the labels again.
    Raises: DataError for a set without labels, and as SegmentationSet.read_label does for a label
      that is missing or wrong.
    """
    cache = pathlib.Path(os.path.abspath(os.path.expanduser(cache)))
    identity = _identity(image_set, kind)
    rows = _load(cache, identity, kind, tell)
    if rows is None:
        rows = _read_all(image_set, kind, progress)
        try:
            _save(cache, identity, kind.name, kind.pack(rows))
        # minutes of reading are not thrown away for a folder that is read-only
        except OSError as error:
            tell(
                f"{cache}: cannot be written: {error}; the next run reads all {len(image_set):,}"
                " labels again"
            )
    return rows


def _read_all(image_set, kind, progress) -> np.ndarray:
    total, num_classes = len(image_set), image_set.num_classes
    rows = np.zeros((total, num_classes), kind.dtype)

    def row_of(index):
        return kind.of_label(image_set.read_label(index), num_classes)

    # PIL and numpy let go of the interpreter while they work
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # an error takes the queued files along
        for i, row in enumerate(pool.map(row_of, range(total))):
            rows[i] = row
            progress(i + 1, total)
    return rows


def _identity(image_set, kind) -> dict:
    """What the cache must have been made of. The sizes tell labels apart that were replaced under
    the same names.
    """
    if image_set.label_paths is None:
        raise DataError(
            f"{image_set.name}: a set without labels; {kind.use} needs the labels of its images"
        )
    try:
        sizes = np.array([os.path.getsize(path) for path in image_set.label_paths], "<i8")
    except OSError as error:
        raise DataError(
            f"{error.filename}: this label cannot be found: {error.strerror}; unpack the labels of"
            f" {image_set.name} again"
        ) from error
    return {
        "version": kind.version,
        "set": image_set.name,
        "count": len(image_set),
        "classes": list(image_set.class_names),
        "fingerprint": image_set.fingerprint(),
        "label_sizes": zlib.crc32(sizes.tobytes()),
    }


def _load(cache, identity, kind, tell) -> np.ndarray | None:
    """[N, K], or None when the file is absent, broken or of another set."""
    try:
        found = json.loads(cache.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not isinstance(found.get("of"), dict):
            return None
        packed = bytes.fromhex(found[kind.name])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if found["of"] != identity:
        differing = [key for key in identity if found["of"].get(key) != identity[key]]
        tell(
            f"{cache}: was made of other data ({', '.join(differing)} differ); all"
            f" {identity['count']:,} labels of {identity['set']} are read anew"
        )
        return None
    if zlib.crc32(packed) != found.get("checksum"):
        return None
    return kind.unpack(packed, (identity["count"], len(identity["classes"])))


def _save(cache, identity, name, packed):
    record = {"of": identity, name: packed.hex(), "checksum": zlib.crc32(packed)}
    cache.parent.mkdir(parents=True, exist_ok=True)
    # processes on several machines may write at once, and what a killed one left goes
    for remains in cache.parent.glob(f".{cache.name}.*"):
        remains.unlink(missing_ok=True)
    unfinished = cache.with_name(f".{cache.name}.{uuid.uuid4().hex}")
    try:
        unfinished.write_text(json.dumps(record) + "\n", encoding="utf-8")
        os.replace(unfinished, cache)
    except FileNotFoundError:  # swept by another process, which writes the same
        pass
    finally:
        unfinished.unlink(missing_ok=True)
