"""The file of `--out`: one Markdown table, the machine above it, what each group met below it. A
later run, of `--only` some groups, replaces their rows and keeps the others.
"""

import pathlib

from benchmarks.cases import HEADER

_MEASURED = "- measured"  # begins a line below the table


def table(rows):
    """HEADER and rows, as Markdown."""
    lines = [HEADER, ["---"] * len(HEADER), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


class OutFile:
    """What is known so far, of this run and of the runs before.

    Args:
      path: of the file, or None for none.
      machine: its description; a table is of one machine.
      order: names of all groups.

    Raises:
      ValueError: the file is of another machine.
    """

    def __init__(self, path, machine, order):
        self._path, self._machine, self._order = path and pathlib.Path(path), machine, order
        self._rows, self._notes = {}, {}  # by group
        if self._path is not None and self._path.exists():
            self._read(self._path.read_text())

    def _read(self, text):
        first, *lines = text.splitlines() or [""]
        if first != self._machine:
            raise ValueError(
                f"--out={self._path}: is of another machine, '{first}', and this is"
                f" '{self._machine}'; name another file"
            )
        for line in lines:
            if line.startswith("| ") and ": " in line.split(" | ")[0]:
                cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
                self._rows.setdefault(cells[0].partition(":")[0], []).append(cells)
            elif line.startswith(_MEASURED):
                name, _, note = line.removeprefix(_MEASURED).strip().partition(": ")
                self._notes[name] = note

    def add(self, group, rows, note):
        """Puts a group's rows in place of those that there were, and writes the file."""
        self._rows[group], self._notes[group] = rows, note
        if self._path is not None:
            self._path.write_text(self.text())

    def text(self):
        """The whole file."""
        names = [name for name in self._order if name in self._notes]
        rows = [row for name in names for row in self._rows.get(name, [])]
        notes = [f"{_MEASURED} {name}: {self._notes[name]}" for name in names]
        return "\n".join([self._machine, "", table(rows), "", *notes, ""])
