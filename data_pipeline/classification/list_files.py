"""Reads list files, `<path of an image> <class id>` a line, as DomainNet and VisDA-2017 have them.

Only the lists are read: no image is looked for. 100,000 lines take a fifth of a second.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.classification.image_set import ImageSet, Listed
from data_pipeline.errors import DataError
from data_pipeline.files.folder_scan import LeftOut, gathered, scan
from data_pipeline.files.names import check_below, class_name, find_below
from data_pipeline.files.text_files import lines_of, read_text
from data_pipeline.preprocess import IMAGE_ENDINGS

_ID = re.compile(r"-?[0-9]{1,9}")  # an int32


class ListFile(NamedTuple):
    """N entries as they stand, entry i in line i + 1, and their class ids, or None when the lines
    have none.
    """

    path: str
    entries: list[str]
    ids: list[int] | None


def read_list(path: str | os.PathLike) -> ListFile:
    """Reads `<path of an image> <class id>` lines, or lines of paths alone.

    Raises: DataError, naming file and line, for a file without lines, an empty line, a line without
      a class id where most have one (and the other way round), and a path that leads out of the
      folder that it is relative to.
    """
    lines = lines_of(
        read_text(path, "one '<path of an image> <class id>' a line", holds_file_names=True)
    )
    if not lines:
        raise DataError(f"{path}: is empty; expected one '<path of an image> <class id>' a line")
    split = [line.rsplit(None, 1) for line in lines]
    are_with_id = [_has_id(words) for words in split]
    # The kind of most lines decides, so that the odd line is blamed, such as a comment in line 1.
    counts = sum(are_with_id), len(lines) - sum(are_with_id)
    has_ids = are_with_id[0] if counts[0] == counts[1] else counts[0] > counts[1]
    usual = are_with_id.index(has_ids) + 1
    for number, words in enumerate(split, 1):
        if not words or are_with_id[number - 1] != has_ids:
            expected = "'<path of an image> <class id>'" if has_ids else "a path without a class id"
            raise DataError(
                f"{path}: line {number} is {lines[number - 1]!r}; expected {expected}, as in line"
                f" {usual}; correct the line"
            )
    entries = [
        words[0].strip() if has_ids else line.strip()
        for words, line in zip(split, lines, strict=True)
    ]
    for number, entry in enumerate(entries, 1):
        check_below(entry, f"{path}: line {number}")
        if "\\" in entry and "/" not in entry:
            raise DataError(
                f"{path}: line {number} names {entry!r}, with backslashes; expected '/' between"
                " folders: replace them in the whole file"
            )
        if has_ids and split[number - 1][1].startswith("-"):
            raise DataError(
                f"{path}: line {number} has class id {split[number - 1][1]}; expected 0 or more:"
                " correct it, or take the ids out of all lines where the list is to be unlabelled"
            )
    # one image, one spelling
    entries = [
        os.path.normpath(entry) if "//" in entry or "./" in entry else entry for entry in entries
    ]
    return ListFile(str(path), entries, [int(words[1]) for words in split] if has_ids else None)


def classes_of(lists: Sequence[ListFile]) -> tuple[str, ...]:
    """The names of the classes that several lists agree on, in the order of their ids. An image's
    class is the folder that it is in.

    Raises: DataError, naming file and line, where an id has two names or a name two ids, and where
      the ids of all lists together are not 0, 1, 2 ... without a gap.
    """
    name_of, id_of = {}, {}  # -> (name or id, where it was seen first)
    for listed in lists:
        for (name, class_id), number in _first_lines(listed).items():
            where = f"{listed.path}: line {number}"
            expected, place = id_of.setdefault(name, (class_id, where))
            if expected != class_id:
                raise DataError(
                    f"{where}: class {name!r} has id {class_id}; expected {expected}, as in"
                    f" {place}; correct one of the lists"
                )
            expected, place = name_of.setdefault(class_id, (name, where))
            if expected != name:
                raise DataError(
                    f"{where}: id {class_id} stands for {name!r}; expected {expected!r}, as in"
                    f" {place}; correct one of the lists"
                )
    for class_id in range(max(name_of) + 1):
        if class_id not in name_of:
            paths = ", ".join(listed.path for listed in lists)
            raise DataError(
                f"{paths}: no line has class id {class_id}, some have {max(name_of)}; expected all"
                " from 0: use complete lists"
            )
    return tuple(name_of[class_id][0] for class_id in range(len(name_of)))


def check_classes(listed: ListFile, class_names: Sequence[str], *, folders_are_classes: bool):
    """Compares a labelled list with the classes that it must have.

    Raises: DataError, naming file and line, for an id that no class has, and, where the folders are
      the classes, for an image in the folder of another class.
    """
    for (name, class_id), number in _first_lines(listed).items():
        where = f"{listed.path}: line {number}"
        if not 0 <= class_id < len(class_names):
            raise DataError(
                f"{where}: class id {class_id}; expected 0..{len(class_names) - 1}; correct the"
                " line"
            )
        if folders_are_classes and class_names[class_id] != name:
            raise DataError(
                f"{where}: id {class_id} stands for {name!r}; expected {class_names[class_id]!r},"
                " the official class of that id; correct the line"
            )


def listed_set(
    name: str, class_names: tuple[str, ...], lists: Sequence[ListFile], origin: Listed
) -> ImageSet:
    """The images of one or more lists, list after list; unlabelled where one of the lists is."""
    has_ids = all(listed.ids is not None for listed in lists)
    labels = (
        np.concatenate([np.array(listed.ids, np.int32) for listed in lists]) if has_ids else None
    )
    paths = tuple(_path_of(origin.base, entry) for listed in lists for entry in listed.entries)
    return ImageSet(name, class_names, labels, paths=paths, listed=origin)


def _path_of(base, entry) -> str:
    """Where a listed image lies. On a disk that came from a Mac its name may have another Unicode
    form than in the list.
    """
    return f"{base}/{entry}" if entry.isascii() else find_below(base, entry) or f"{base}/{entry}"


def left_out_of(images: ImageSet) -> tuple[LeftOut, ...]:
    """All that a set's reader saw and does not use, and what its lists do not name (see
    `unlisted`).
    """
    return images.left_out + (unlisted(images.listed) if images.listed else ())


def unlisted(origin: Listed) -> tuple[LeftOut, ...]:
    """What lies in a domain's folder and no list of the domain names. Reads all its folders and
    lists, but opens no image.
    """
    named = {
        os.path.normpath(_path_of(origin.base, entry))
        for path in origin.files
        for entry in read_list(path).entries
    }
    used = named | {os.path.normpath(path) for path in origin.files}
    found, folders, seen = [], [origin.folder], set()
    while folders:
        parent = folders.pop()
        if os.path.realpath(parent) in seen:  # links may lead in a circle
            continue
        seen.add(os.path.realpath(parent))
        there = scan(parent, IMAGE_ENDINGS)
        folders += [f"{parent}/{name}" for name in reversed(there.folders)]
        images = tuple(f"{parent}/{name}" for name in there.files)
        found += [
            LeftOut(f"images below {origin.folder} that no list names", images),
            *there.left_out,
        ]
    rest = (
        (why, tuple(path for path in paths if os.path.normpath(path) not in used))
        for why, paths in gathered(found)
    )
    return tuple(LeftOut(why, paths) for why, paths in rest if paths)


def _has_id(words) -> bool:
    return len(words) == 2 and _ID.fullmatch(words[1]) is not None


def _first_lines(listed: ListFile) -> Mapping[tuple[str, int], int]:
    """{(class, id): number of the first line that has both}; the class is the folder of the image,
    "" for none.
    """
    lines = {}
    for number, (entry, class_id) in enumerate(zip(listed.entries, listed.ids, strict=True), 1):
        lines.setdefault((f"/{entry}".rsplit("/", 2)[-2], class_id), number)
    named: dict[tuple[str, int], int] = {}
    for (folder, class_id), number in lines.items():
        named.setdefault((class_name(folder), class_id), number)
    return named
