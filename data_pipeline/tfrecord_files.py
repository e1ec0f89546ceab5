"""Any record of TFRecord files at once. The format reads from the front only; this finds out first where each record begins."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import DataError

# A record: its length in 8 bytes, a checksum of that in 4, the bytes, a checksum of them in 4.
_LENGTH_BYTES, _CHECKSUM_BYTES = 8, 4


class Shard(NamedTuple):
    """Records skip .. skip+take-1 of a file."""

    path: str
    skip: int
    take: int


class TfRecordFiles(Sequence):
    """The records of uncompressed TFRecord files as bytes, shard after shard. Safe to read from several threads.

    Opening reads 12 bytes a record. Raises DataError for a file that ends within a record or holds fewer of them than expected.
    """

    def __init__(self, shards: Sequence[Shard]):
        self._paths = [shard.path for shard in shards]
        found = [_find_records(shard) for shard in shards]
        self._spans = np.concatenate(found)  # int64 [N, 2], first byte and number of bytes
        self._shard_of = np.repeat(np.arange(len(shards)), [len(spans) for spans in found])

    def __len__(self):
        return len(self._spans)

    def __getitem__(self, index):
        begin, length = self._spans[index].tolist()
        with open(self._paths[self._shard_of[index]], "rb") as file:
            file.seek(begin)
            return file.read(length)

    def __getitems__(self, indices):
        """Several at once, as tfds' data sources have it."""
        return [self[index] for index in indices]


def _find_records(shard) -> np.ndarray:
    spans, position, size = [], 0, os.path.getsize(shard.path)
    with open(shard.path, "rb") as file:
        while len(spans) < shard.skip + shard.take and position < size:
            file.seek(position)
            begin = position + _LENGTH_BYTES + _CHECKSUM_BYTES
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            position = begin + length + _CHECKSUM_BYTES
            if position > size:
                raise DataError(f"{shard.path}: ends within record {len(spans)}; expected {shard.skip + shard.take}: prepare the data set again")
            spans.append((begin, length))
    if len(spans) < shard.skip + shard.take:
        raise DataError(f"{shard.path}: holds {len(spans)} records; expected {shard.skip + shard.take}: prepare the data set again")
    return np.array(spans[shard.skip:], np.int64).reshape(-1, 2)
