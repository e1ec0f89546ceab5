"""The folder of --out: a report of an earlier call is replaced, anything else is left alone."""

import pathlib

from dajax.engine import json_files, out_folder

MARKER = "analysis.json"
VERSION = 1


class ReportFolder:
    """A folder for one report.

    Args:
      path: of the folder; it need not be there yet.

    Raises:
      UserError: it is a file, holds other things, or its marker is damaged.
    """

    def __init__(self, path):
        self.path, self._before = pathlib.Path(path), []
        there = out_folder.names_in(self.path, "the report")
        if MARKER not in there:
            return out_folder.refuse_others(self.path, there)
        remedy = "remove the folder, or name another --out"
        found = json_files.read(self.path / MARKER, remedy, keys=("version", "files"))
        self._before = [name for name in found["files"] if self._is_below(name)]

    def _is_below(self, name):
        """Whether a name of the marker is one that a report may have written."""
        return isinstance(name, str) and ".." not in pathlib.PurePath(name).parts

    def write(self, files, about):
        """Writes the files of a report and takes away those of the report before.

        Args:
          files: {name below the folder: bytes}.
          about: {key: value} for the marker.

        Raises:
          OSError: the folder cannot be written to.
        """
        out_folder.make(self.path)
        # the old names stay in the marker until their files are gone
        names = sorted({*files, *self._before})
        json_files.write(self.path / MARKER, {"version": VERSION, "files": names, **about})
        for name in self._before:
            if name not in files:
                (self.path / name).unlink(missing_ok=True)
        for name, content in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            json_files.replace_file(self.path / name, content)
        marker = {"version": VERSION, "files": sorted(files), **about}
        json_files.write(self.path / MARKER, marker)
