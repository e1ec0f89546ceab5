"""Reads text files that people write or edit beside their images: lists, categories, classes."""

import codecs
import os

from data_pipeline.errors import DataError
from data_pipeline.files.names import hint, names_in

_MARKS = {  # UTF-32's first: UTF-16's little-endian mark is how its own begins
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(path: str | os.PathLike, expected: str, *, holds_file_names: bool = False) -> str:
    """The text of a UTF-8 file, with or without a byte order mark, its lines ended by "\\n" alone.

    Args:
      expected: what the file should hold, for messages.
      holds_file_names: names of files are bytes; those that are no UTF-8 are kept as `os.fsdecode`
        does.
    Raises: DataError, naming file and line, for a file that cannot be read, is no text, is UTF-16
      or UTF-32, and without holds_file_names for bytes that are no UTF-8.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError as error:
        folder, name = os.path.split(path)
        near = hint(name, names_in(folder or "."))
        raise DataError(
            f"{path}: cannot be read: {error.strerror}{near}; expected {expected}"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; expected {expected}") from error
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            raise DataError(
                f"{path}: is no text in UTF-8, it begins with the mark of {encoding}; expected "
                f"{expected}: save it as UTF-8"
            )
    if b"\0" in data:
        raise DataError(
            f"{path}: is no text, it holds zero bytes; expected {expected}: put the file as "
            "downloaded there, or save it as UTF-8"
        )
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode(
            "utf-8", "surrogateescape" if holds_file_names else "strict"
        )
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line} is no UTF-8 (byte 0x{data[error.start]:02x}); expected "
            f"{expected}: save the file as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def lines_of(text: str) -> list[str]:
    """Its lines, without the empty last ones that editors leave."""
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines
