"""Names of folders, files and classes: what a person types or sees, and what lies on the disk.

Names on a disk are bytes. The same word may stand there composed (NFC, as Linux and git write it)
or decomposed (NFD, as macOS does): they look the same and are two names. Here they are one.
"""

import os
import pathlib
import unicodedata
from collections.abc import Iterable

from data_pipeline.errors import DataError, printable


def data_root(root: str | os.PathLike, key: str = "config.data.root") -> pathlib.Path:
    """A root as a config names it, with `~` expanded. Raises DataError when it is empty or no
    folder.
    """
    if not str(root):
        raise DataError(f"{key} is empty; set it to the folder that holds the data")
    path = pathlib.Path(os.path.expanduser(root))
    if not path.is_dir():
        kind = "is no folder" if path.exists() else "no such folder"
        raise DataError(f"{path}: {kind}; set {key} to the folder that holds the data")
    return path


def normal(name: str) -> str:
    """A name as it is compared with others: composed (NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def class_name(folder: str) -> str:
    """The class that a folder's name, or a line of a file, stands for; fit for JSON and
    TensorBoard.
    """
    return printable(normal(folder))


def check_below(relative: str, what: str) -> None:
    """Refuses a path that leaves the folder that it is relative to, as written; links are followed.

    Raises: DataError that begins with `what`, for an absolute path, a part `..` and a NUL.
    """
    is_outside = relative.startswith("/") or ".." in relative and ".." in relative.split("/")
    if is_outside or "\0" in relative:
        raise DataError(
            f"{what} names {relative!r}; expected a path below the root, without '..': correct it"
        )


def find_below(base: str | os.PathLike, relative: str) -> str | None:
    """The path of `relative` below a folder, in whichever Unicode form its parts stand on the disk.

    Returns: None where there is no such file or folder.
    """
    path = f"{base}/{relative}"
    if os.path.lexists(path):
        return path
    if relative.isascii():
        return None
    path = str(base)
    for part in relative.split("/"):
        entry = f"{path}/{part}"
        if not os.path.lexists(entry):
            there = os.listdir(path) if os.path.isdir(path) else []
            same = [name for name in sorted(there) if normal(name) == normal(part)]
            if not same:
                return None
            entry = f"{path}/{same[0]}"
        path = entry
    return path


def near_miss(name: str, others: Iterable[str]) -> str | None:
    """The one of some other names that a person would take for `name`: but for case, blanks and
    form.
    """
    look = _look(name)
    return next(
        (other for other in others if other != name and look and _look(other) == look), None
    )


def hint(name: str, others: Iterable[str]) -> str:
    """" (there is 'bar': ...)", for a message that misses a name; "" where none is near."""
    other = near_miss(name, others)
    if other is None:
        return ""
    kind = (
        "another case"
        if other.casefold() == name.casefold()
        else "other spaces, dashes or letters that look alike"
    )
    return f" (there is {other!r}: {kind})"


def _look(name) -> str:
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in text if letter.isalnum())
