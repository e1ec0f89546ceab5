"""Sizes of many files, so that new content under an old name is noticed without reading it."""

import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from data_pipeline.errors import DataError

# A local disk answers in microseconds, a network file system in up to a millisecond; so many are
# asked at once.
_THREADS = 32
_CHUNK = 2048


def file_sizes(paths: Sequence[str]) -> np.ndarray:
    """Bytes of each file, int64 [N]. Raises DataError, naming the file, where one is gone."""
    chunks = [paths[begin : begin + _CHUNK] for begin in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(min(_THREADS, max(len(chunks), 1))) as pool:
        parts = list(pool.map(_sizes, chunks))
    return np.concatenate([np.zeros(0, np.int64), *parts])


def add_sizes(value: int, paths: Sequence[str]) -> int:
    """A crc32 continued over the sizes of files, the same on machines of either byte order."""
    return zlib.crc32(file_sizes(paths).astype("<i8").tobytes(), value)


def _sizes(paths):
    try:
        return np.array([os.stat(path).st_size for path in paths], np.int64)
    except OSError as error:
        raise DataError(
            f"{error.filename}: cannot be found: {error.strerror}; restore the file, or take it "
            "out of the data set"
        ) from error
