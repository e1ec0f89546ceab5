"""Names of folders, files and classes: what a person types or sees, and what lies on the disk.

Names on a disk are bytes. The same word may stand there composed (NFC, as Linux and git write it)
or decomposed (NFD, as macOS does): they look the same and are two names. Here they are one.
"""

import os
import pathlib
import re
import stat
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
    if not is_folder(path):
        kind = "is no folder" if path.exists() else "no such folder"
        raise DataError(f"{path}: {kind}; set {key} to the folder that holds the data")
    return path


def is_folder(path: str | os.PathLike) -> bool:
    """Whether a folder is there, or a link to one.

    Raises: DataError where that cannot be known: no permission on the way, a name that is too long.
    """
    return stat.S_ISDIR(_mode_of(path))


def is_file(path: str | os.PathLike) -> bool:
    """Whether a file is there, or a link to one. Raises: DataError as is_folder does."""
    return stat.S_ISREG(_mode_of(path))


def _mode_of(path) -> int:
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise DataError(
            f"{path}: cannot be looked at: {error.strerror}; make it and the folders above it "
            "readable, or correct the path"
        ) from error


def is_present(folder: str | os.PathLike, name: str, *, as_folder: bool = False) -> bool:
    """Whether an entry of a folder is there which may be left out, so that a mistake in its name
    would go unnoticed.

    Args:
      as_folder: the entry is a folder, else a file.
    Raises: DataError where it is something else, a link that leads nowhere, or has nearly this
    name.
    """
    path = os.path.join(folder, name)
    if (is_folder if as_folder else is_file)(path):
        return True
    if os.path.lexists(path):
        kind = "folder" if as_folder else "file"
        raise DataError(
            f"{path}: is{what_stands_at(path)}, expected a {kind}; restore, rename or remove it"
        )
    other = near_miss(name, (entry for entry in names_in(folder) if not entry.startswith(".")))
    if other:
        raise DataError(
            f"{os.path.join(folder, other)}: is not read under this name; rename it to {name}, or "
            "remove it"
        )
    return False


def names_in(folder: str | os.PathLike) -> tuple[str, ...]:
    """The entries of a folder, sorted, for a hint; none where it cannot be listed."""
    try:
        return tuple(sorted(os.listdir(folder)))
    except OSError:
        return ()


def what_stands_at(path: str | os.PathLike) -> str:
    """For messages: " a link to x, where nothing is", " a folder", " a file"; "" for none."""
    if not os.path.lexists(path):
        return ""
    try:
        return " a folder" if stat.S_ISDIR(os.stat(path).st_mode) else " a file"
    except FileNotFoundError:
        return f" a link to {os.readlink(path)}, where nothing is"
    except OSError as error:
        return f" a link that cannot be followed ({error.strerror})"


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
            same = [name for name in names_in(path) if normal(name) == normal(part)]
            if not same:
                return None
            entry = f"{path}/{same[0]}"
        path = entry
    return path


def near_miss(name: str, others: Iterable[str]) -> str | None:
    """The first of some other names that a person would take for `name`, or None: they differ in
    case, blanks, dashes or Unicode form alone.
    """
    look = _look(name)
    return next(
        (other for other in others if other != name and look and _look(other) == look), None
    )


def hint(name: str, others: Iterable[str]) -> str:
    """ " (there is 'bar': ...)", for a message that misses a name; "" where none is near."""
    other = near_miss(name, others)
    if other is None:
        return ""
    kind = (
        "another case"
        if other.casefold() == name.casefold()
        else "other spaces, dashes or letters that look alike"
    )
    return f" (there is {other!r}: {kind})"


# What `printable` makes of invisible letters in the name of a class.
_ESCAPES = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def _look(name) -> str:
    text = unicodedata.normalize("NFKC", _ESCAPES.sub("", name)).casefold()
    return "".join(letter for letter in text if letter.isalnum())
