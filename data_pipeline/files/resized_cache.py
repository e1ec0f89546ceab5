"""A bounded folder of images that are decoded and resized already, for sets that do not fit into
memory (see classification.kept_images for those that do). Several runs and processes may share it.

A file holds the pixels that a resize has made of an image, behind them their CRC-32. Its name is a
hash of what they depend on: the image's absolute path, its size in bytes and the time of its last
change; the size that it is resized to, PIL's filter and version, and whether a JPEG may be decoded
at a smaller scale. So a changed image, or another transform, finds nothing. What is random happens
afterwards, on the same pixels: a batch is the same with and without.

THE BOUND. What is there stays; once the folder is full nothing is added, since of images that come
in random order none is worth more than another. Each process counts the folder when it opens it and
again after every 1/16 of the bound that it has written, so that all together may exceed the bound
by that much each. A file is written under another name and renamed: it is whole or absent. A disk
that is full, or a folder that may not be written, ends the adding and nothing else.
"""

import hashlib
import os
import threading
import time
import zlib
from collections.abc import Callable

import numpy as np
import PIL

_VERSION = 1  # of what a file holds
_CHANNELS = 3
_CHECK_BYTES = 4
_LEFT_AFTER = 3600.0  # seconds, far more than an image takes to be written; ours
_RECOUNT_SHARE = 16  # the bound over what is written between two counts; ours


class ResizedCache:
    """See the module. Safe to use from several threads and processes.

    Args:
      folder: made when the first image is added.
      max_bytes: the bound.
    """

    def __init__(self, folder: str | os.PathLike, max_bytes: int):
        self._folder, self._max_bytes = os.path.expanduser(os.fspath(folder)), max_bytes
        self._lock, self._used, self._since_count = threading.Lock(), None, 0
        self._is_full = False

    def find(self, key: str, size_hw: tuple[int, int]) -> np.ndarray | None:
        """The pixels of a key of key_of, uint8 [h, w, 3]; None where they are not there, or the
        file is damaged.
        """
        try:
            with open(self._path(key), "rb") as file:
                content = file.read()
        except OSError:
            return None
        height, width = size_hw
        pixels, check = content[:-_CHECK_BYTES], content[-_CHECK_BYTES:]
        if len(pixels) != height * width * _CHANNELS or check != _check_of(pixels):
            return None
        return np.frombuffer(pixels, np.uint8).reshape(height, width, _CHANNELS)

    def put(self, key: str, image: np.ndarray) -> None:
        """Adds the pixels of a key, uint8 [h, w, 3], where there is room."""
        pixels = image.tobytes()
        size = len(pixels) + _CHECK_BYTES
        if self._is_full or not self._has_room(size):
            return
        path = self._path(key)
        unfinished = f"{path}.{os.getpid()}.{threading.get_ident()}"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(unfinished, "wb") as file:
                file.write(pixels + _check_of(pixels))
            os.replace(unfinished, path)
        except OSError:
            self._is_full = True  # of a full disk; what is there is still read
            try:
                os.remove(unfinished)
            except OSError:
                pass

    def _path(self, key):
        return os.path.join(self._folder, key[:2], key)

    def _has_room(self, size):
        """Whether `size` bytes fit; they are counted as written then."""
        with self._lock:
            if self._used is None or self._since_count > self._max_bytes // _RECOUNT_SHARE:
                self._used, self._since_count = _bytes_in(self._folder), 0
            if self._used + size > self._max_bytes:
                self._is_full = True
                return False
            self._used += size
            self._since_count += size
            return True


def key_of(path: str, size_hw: tuple[int, int], resample: int, is_draft: bool) -> str | None:
    """What the pixels of a resized image depend on, hashed; None where its file is gone.

    Args:
      resample: PIL's filter.
      is_draft: whether a JPEG may be decoded at a smaller scale, see decode.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    parts = (
        _VERSION,
        PIL.__version__,  # whose decoders and resize may change
        os.path.abspath(path),
        found.st_size,
        found.st_mtime_ns,
        *map(int, size_hw),
        int(resample),
        bool(is_draft),
    )
    text = "\n".join(map(str, parts))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def found_or_made(
    cache: ResizedCache,
    path: str,
    size_hw: tuple[int, int],
    resample: int,
    is_draft: bool,
    make: Callable[[], np.ndarray],
) -> np.ndarray:
    """A resized image from the cache, read-only; or from `make`, uint8 [h, w, 3], and then added.
    The other arguments are those of key_of.
    """
    key = key_of(path, size_hw, resample, is_draft)
    found = None if key is None else cache.find(key, size_hw)
    if found is None:
        found = make()
        if key is not None:
            cache.put(key, found)
    return found


def _check_of(pixels):
    return zlib.crc32(pixels).to_bytes(_CHECK_BYTES, "little")


def _bytes_in(folder):
    """Of all files two levels down; what disappears meanwhile counts nothing. What a killed process
    left half written goes.
    """
    total = 0
    for inner, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(inner, name)
            try:
                found = os.stat(path)
                if "." in name and time.time() - found.st_mtime > _LEFT_AFTER:  # a key has no dot
                    os.remove(path)
                else:
                    total += found.st_size
            except OSError:
                continue
    return total
