"""What lies in a folder: the files that a reader uses, and all the others, each with the reason why
it is left out.

No reader passes over a file in silence: check_data and the head of a run count and name what is not
used.
"""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from data_pipeline.errors import DataError
from data_pipeline.files.names import names_in, normal

_MOST_NAMED = 3  # of one reason; the rest are counted
# Endings of pictures that are not read; a message that meets them has a remedy.
_OTHER_PICTURES = (".tif", ".tiff", ".gif", ".webp", ".jfif", ".heic", ".jp2", ".ppm", ".tga")


class LeftOut(NamedTuple):
    """Files that a reader has seen and does not use."""

    why: str  # follows their number: "hidden", "that end in .tif ..."
    paths: tuple[str, ...]


class Scan(NamedTuple):
    """The entries of one folder, sorted by name.

    Attributes:
      files: names with one of the endings that were asked for. Whether they can be opened is
        another question, which `file_checks.broken` answers.
      folders: names.
      left_out: all the rest.
    """

    files: list[str]
    folders: list[str]
    left_out: list[LeftOut]


def scan(folder: str | os.PathLike, endings: Sequence[str]) -> Scan:
    """Lists a folder, once. Endings are compared in lower case. Raises DataError when it cannot be
    listed.
    """
    files, folders, left_out = [], [], {}
    try:
        with os.scandir(folder) as entries:
            # in one order on every disk
            found = sorted(entries, key=lambda entry: (normal(entry.name), entry.name))
            for entry in found:
                if entry.name.startswith("."):
                    left_out.setdefault("hidden", []).append(entry.path)
                elif _is_folder(entry):
                    folders.append(entry.name)
                elif (
                    not entry.name.lower().endswith(tuple(endings))
                    and entry.is_symlink()
                    and not os.path.exists(entry.path)
                ):
                    left_out.setdefault(
                        "that are links to nothing, or to where you may not look", []
                    ).append(entry.path)
                elif not entry.name.lower().endswith(tuple(endings)):
                    left_out.setdefault(_other_ending(entry.name, endings), []).append(entry.path)
                elif not entry.is_symlink() and not entry.is_file():
                    left_out.setdefault("that are pipes, sockets or devices", []).append(entry.path)
                else:  # a link that leads nowhere, too: it stands for an image
                    files.append(entry.name)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be listed: {error.strerror}; make the folder readable"
        ) from error
    return Scan(files, folders, [LeftOut(why, tuple(paths)) for why, paths in left_out.items()])


def _is_folder(entry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def as_left_out(folder: str | os.PathLike, names: Iterable[str], why: str) -> list[LeftOut]:
    """Entries of a folder that are left out for a reason of the reader's own; [] for no names."""
    paths = tuple(os.path.join(folder, name) for name in names)
    return [LeftOut(why, paths)] if paths else []


def nested(folder: str | os.PathLike, found: Scan) -> list[LeftOut]:
    """The folders where only files are read."""
    return as_left_out(folder, found.folders, "that are folders; files below them are not read")


def gathered(parts: Iterable[LeftOut]) -> tuple[LeftOut, ...]:
    """One entry a reason, in the order of their first appearance."""
    together: dict[str, list[str]] = {}
    for part in parts:
        together.setdefault(part.why, []).extend(part.paths)
    return tuple(LeftOut(why, tuple(dict.fromkeys(paths))) for why, paths in together.items())


def describe(parts: Iterable[LeftOut]) -> list[str]:
    """A line for each reason: how many, why, and the names of the first."""
    lines = []
    for why, paths in gathered(parts):
        more = f" and {len(paths) - _MOST_NAMED:,} more" if len(paths) > _MOST_NAMED else ""
        lines.append(f"not used: {len(paths):,} {why}: {', '.join(paths[:_MOST_NAMED])}{more}")
    return lines


def what_is_there(folder: str | os.PathLike, most: int = 6) -> str:
    """The first entries of a folder, or "nothing", for a message that misses something in it."""
    names = names_in(folder)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    remedy = (
        " (pictures of a kind that is not read: convert them to PNG)"
        if any(name.lower().endswith(_OTHER_PICTURES) for name in names)
        else ""
    )
    return ", ".join(names[:most]) + more + remedy if names else "nothing"


def _other_ending(name, endings) -> str:
    ending = os.path.splitext(name)[1].lower()
    return (
        f"{f'that end in {ending}' if ending else 'without an ending'}, read are "
        f"{', '.join(endings)}"
    )
