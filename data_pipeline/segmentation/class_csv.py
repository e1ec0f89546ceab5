"""The classes of a user's own segmentation data, in a CSV file `id,name,train_id,r,g,b`."""

import csv
import io
import os

from data_pipeline.errors import DataError
from data_pipeline.files.names import class_name
from data_pipeline.files.text_files import read_text
from data_pipeline.segmentation.labels import IGNORED, LabelClass, LabelSpace

COLUMNS = ("id", "name", "train_id", "r", "g", "b")


def read_classes(path: str | os.PathLike) -> LabelSpace:
    """Reads a class table: one row per value that the label files may hold; columns in any order,
    train_id 255, or -1, for ignored ids.

    Raises: DataError, naming the file and the line, for a missing, duplicate or unknown column, a
    row of another length, a number that is none or is outside 0..255, an empty name, a duplicate
    id, and train ids with a gap.
    """
    text = read_text(path, f"a CSV file with the columns {','.join(COLUMNS)}")
    try:
        rows = [
            (number, row)
            for number, row in enumerate(csv.reader(io.StringIO(text, newline="")), 1)
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise DataError(
            f"{path}: cannot be read: {error}; expected a CSV file with the columns"
            f" {','.join(COLUMNS)}"
        ) from error
    header = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    _check_header(path, header)
    entries, seen = [], {}
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise DataError(
                f"{path}: line {number} has {len(row)} cells; expected {len(header)}:"
                f" {','.join(header)}"
            )
        entry = _entry(
            path, number, {column: cell.strip() for column, cell in zip(header, row, strict=True)}
        )
        if entry.id in seen:
            raise DataError(
                f"{path}: line {number} has id {entry.id}, which line {seen[entry.id]} has already;"
                " keep one of them"
            )
        seen[entry.id] = number
        entries.append(entry)
    return LabelSpace(str(path), "own", tuple(entries))


def write_classes(path: str | os.PathLike, space: LabelSpace) -> None:
    """Writes a class table that read_classes reads."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows(
            (entry.id, entry.name, entry.train_id, *entry.color) for entry in space.classes
        )


def _check_header(path, header):
    expected = f"expected the columns {','.join(COLUMNS)} in the first line"
    for column in COLUMNS:
        if column not in header:
            remedy = (
                ", separated by commas"
                if len(header) == 1 and any(sign in header[0] for sign in ";\t")
                else ""
            )
            raise DataError(
                f"{path}: no column {column!r}; found {','.join(header) or 'nothing'};"
                f" {expected}{remedy}"
            )
        if header.count(column) > 1:
            raise DataError(
                f"{path}: column {column!r} is there {header.count(column)} times; {expected}, each"
                " once"
            )
    for column in header:
        if column not in COLUMNS:
            raise DataError(f"{path}: unknown column {column!r}; {expected} and no other")


def _entry(path, number, cells) -> LabelClass:
    values = {}
    for column in COLUMNS:
        if column == "name":
            continue
        # as many tables write "ignored", Cityscapes' own among them
        if column == "train_id" and cells[column] == "-1":
            values[column] = IGNORED
            continue
        if (
            not cells[column].isdecimal()
            or len(cells[column].lstrip("0")) > 3
            or int(cells[column]) > 255
        ):
            raise DataError(
                f"{path}: line {number}: {column} is {cells[column]!r}; expected a whole number in"
                " 0..255"
            )
        values[column] = int(cells[column])
    if not cells["name"]:
        raise DataError(f"{path}: line {number}: the name is empty; expected the name of the class")
    return LabelClass(
        class_name(cells["name"]),
        values["id"],
        values["train_id"],
        (values["r"], values["g"], values["b"]),
    )
