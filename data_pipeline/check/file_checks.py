"""What can be said of files without decoding them, before the first step and by check_data.

It takes some microseconds a file on a local disk. On a network file system a pool of threads hides
the delay.
"""

import functools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from data_pipeline.files.names import hint, names_in

_THREADS = 32  # most of them wait for a disk; a guess, not measured
_CHUNK = 256  # files a task: handing over a single one costs more than looking at it


def broken(path: str) -> str | None:
    """What is wrong with a file that is to be read, in one line; None when it is a file with
    something in it.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            return (
                f"{path}: a link to {os.readlink(path)}, where nothing is; restore that file, or "
                "remove the link"
            )
        return (
            f"{path}: no such file{_hint(path)}; unpack the download again, or take it off the "
            "list that names it"
        )
    except OSError as error:
        return f"{path}: cannot be opened: {error.strerror}; make it readable, or remove it"
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
        return f"{path}: {kind}, expected an image file; move it elsewhere"
    if not found.st_size:
        return (
            f"{path}: cannot be decoded: the file is empty; download or copy it again, or remove it"
        )
    if not os.access(path, os.R_OK):
        return f"{path}: cannot be opened: no permission to read it; make it readable (chmod u+r)"
    return None


def _hint(path) -> str:
    """A name much like the first part of a path that is missing."""
    folder, name = os.path.split(path)
    while folder and not os.path.lexists(folder):
        folder, name = os.path.split(folder)
    return hint(name, _names_in(folder or "."))


# of many missing files in a row, most are of one folder
_names_in = functools.lru_cache(maxsize=64)(names_in)


def broken_files(paths: Sequence[str]) -> list[str]:
    """A line for each file of a set that cannot be read, as `broken` has it."""
    return [line for line in each(broken, paths) if line]


def each(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """function(item) of every item, in order, computed in a pool of threads."""
    chunks = [items[begin : begin + _CHUNK] for begin in range(0, len(items), _CHUNK)]
    if len(chunks) <= 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        for results in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
            yield from results
