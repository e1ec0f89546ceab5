"""`metrics.jsonl`, the record of a run's figures."""

import json
import os

from dajax import console
from dajax.engine import json_files, storage


class MetricsFile:
    """`metrics.jsonl`: one object a line, {"step", "kind", figures...}; no times in it, so that an
    interrupted run writes the same file.

    A checkpoint remembers how long the file was; resuming cuts what came after, because those steps
    will be run, and written, again. What a power failure or an editor has done to the part before
    is said; its whole lines stay.

    Args:
      path: of the file; its folder is created.
      length: bytes that the checkpoint remembers.

    Raises:
      UserError: it cannot be written to.
    """

    def __init__(self, path, length):
        self._path = path
        with storage.told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            found = path.read_bytes()[:length] if path.exists() else b""
            lines = list(_whole_lines(found))
            kept = b"".join(line + b"\n" for line, _ in lines)
            if len(found) < length or kept != found:
                lost = f"its {len(lines)} whole lines are kept, the others are lost"
                console.say(
                    f"{path}: has {len(found)} of the {length} bytes that the checkpoint remembers,"
                    f" or holds what is no metric; {lost}"
                )
            if kept != found:
                json_files.replace_file(path, kept)
            self._file = open(path, "ab")
            self._file.truncate(len(kept))
            self._file.seek(len(kept))

    def write(self, step, kind, figures):
        """Appends one line. kind: "train", "refresh" or "evaluation"."""
        with storage.told(self._path):
            self._file.write((json.dumps({"step": step, "kind": kind, **figures}) + "\n").encode())
            self._file.flush()

    def sync(self):
        """Bytes written so far, which a power failure then leaves as they are."""
        with storage.told(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self):
        """Releases the file."""
        with storage.told(self._path):
            self._file.close()


def read_metrics(path):
    """List of the objects of a metrics.jsonl; [] where there is none. Lines that are not whole are
    left out, and said.
    """
    content = path.read_bytes() if path.exists() else b""
    lines = list(_whole_lines(content))
    if b"".join(line + b"\n" for line, _ in lines) != content:
        console.say(f"{path}: some lines are not whole; {len(lines)} are taken")
    return [row for _, row in lines]


def earlier_refreshes(directory, data):
    """Figures of the refreshes before the one that is under way, oldest first: those of the rounds
    before, then those of the stage itself.

    Args:
      directory: of the stage; data: its feed.
    """
    folders = [*(directory.parent / name for name in data.earlier_rounds), directory]
    rows = [row for folder in folders for row in read_metrics(folder / "metrics.jsonl")]
    return [row for row in rows if row["kind"] == "refresh"]


def last_refreshes(workdir, stages):
    """{stage: figures of its last refresh} of the stages that have had one, for results.json."""
    found = {}
    for name in stages:
        rows = read_metrics(workdir / name / "metrics.jsonl")
        refreshes = [row for row in rows if row["kind"] == "refresh"]
        if refreshes:
            found[name] = {key: x for key, x in refreshes[-1].items() if key != "kind"}
    return found


def _whole_lines(content):
    """(line, its object) of every line that ends and is a metric. NULs, which versions before put
    where bytes were lost, are taken off.
    """
    for line in content.split(b"\n")[:-1]:
        line = line.strip(b"\0")
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row and "kind" in row:
            yield line, row
