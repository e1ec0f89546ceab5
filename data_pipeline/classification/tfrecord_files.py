"""Random access to the records of TFRecord files. The format can be read from the front only, so
opening a file first finds out where each record begins.
"""

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
    """The records of uncompressed TFRecord files as bytes, shard after shard. Safe to read from
    several threads.

    Opening reads 12 bytes a record. Raises DataError for a file that cannot be read, ends within a
    record, holds fewer of them than expected, or has a length that fails its checksum. The
    checksums of the records themselves are not looked at: CRC-32C of gigabytes takes minutes in
    Python.
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


def masked_crc(data: bytes) -> int:
    """The checksum that TFRecord files hold of some bytes: CRC-32C, turned and moved
    (tensorflow/core/lib/hash/crc32c.h).
    """
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC_TABLE[(value ^ byte) & 255] ^ value >> 8
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc_table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        # Castagnoli's polynomial, lowest bit first
        table = [value >> 1 ^ (0x82F63B78 if value & 1 else 0) for value in table]
    return table


_CRC_TABLE = _crc_table()


def _find_records(shard) -> np.ndarray:
    try:
        return _spans(shard)
    except OSError as error:
        raise DataError(
            f"{shard.path}: cannot be read: {error.strerror}; make it readable, or prepare the data"
            " set again"
        ) from error


def _spans(shard) -> np.ndarray:
    spans, position, size = [], 0, os.path.getsize(shard.path)
    with open(shard.path, "rb") as file:
        while len(spans) < shard.skip + shard.take and position < size:
            file.seek(position)
            begin = position + _LENGTH_BYTES + _CHECKSUM_BYTES
            head = file.read(_LENGTH_BYTES + _CHECKSUM_BYTES)
            if len(head) == _LENGTH_BYTES + _CHECKSUM_BYTES and masked_crc(
                head[:_LENGTH_BYTES]
            ) != int.from_bytes(head[_LENGTH_BYTES:], "little"):
                raise DataError(
                    f"{shard.path}: the length of record {len(spans)} fails its checksum; prepare"
                    " the data set again"
                )
            length = int.from_bytes(head[:_LENGTH_BYTES], "little")
            position = begin + length + _CHECKSUM_BYTES
            if position > size:
                raise DataError(
                    f"{shard.path}: ends within record {len(spans)}; expected"
                    f" {shard.skip + shard.take}: prepare the data set again"
                )
            spans.append((begin, length))
    if len(spans) < shard.skip + shard.take:
        raise DataError(
            f"{shard.path}: holds {len(spans)} records; expected {shard.skip + shard.take}: prepare"
            " the data set again"
        )
    return np.array(spans[shard.skip :], np.int64).reshape(-1, 2)
