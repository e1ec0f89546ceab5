"""The folder of --out: whose predictions it holds, and which pictures are done.

    predictions.json    model, stage, step and images that the predictions are of
    finished.jsonl      a line for each picture that is done, written when its files are there

Files appear whole or not at all, and a line is read only with its end. So a run that was killed at
any moment goes on where it stood.
"""

import contextlib
import hashlib
import json
import os
import pathlib

import jax
import numpy as np

from dajax.engine import folder_lock, json_files, out_folder
from dajax.errors import UserError

MARKER, RECORDS = "predictions.json", "finished.jsonl"
VERSION = 1
# of pictures.Picture; what the task adds is its own
_RECORD_KEYS = ("file", "name", "stamp")
# What two calls on one folder must agree in, and how a message calls it.
_MUST_AGREE = {
    "version": "version of dajax's files",
    "task": "task",
    "model": "model",
    "stage": "stage",
    "step": "step",
    "images": "--images",
    "window": "--window",
}


def digest(trained):
    """A checksum of a trained model's networks, which a copy of its workdir shares."""
    value = hashlib.sha256()
    networks = {"params": trained.params, "batch_stats": trained.batch_stats}
    for path, leaf in jax.tree_util.tree_leaves_with_path(networks):
        value.update(jax.tree_util.keystr(path).encode())
        value.update(np.ascontiguousarray(leaf).tobytes())
    return value.hexdigest()


class OutFolder:
    """An open folder of predictions; close it, or use it in a `with`.

    Args:
      path: the folder, made if need be.
      identity: {key of predictions.json: value}, of _MUST_AGREE and whatever else is to be read.

    Attributes:
      path: pathlib.Path; `records`: {file of a picture: its line of finished.jsonl}.

    Raises:
      UserError: the folder holds other things, predictions of another model or other images, or
        another process writes into it.
      OSError: it cannot be made or written to.
    """

    def __init__(self, path, identity):
        self.path = pathlib.Path(path)
        self._check(identity | {"version": VERSION})
        out_folder.make(self.path)
        self._file = open(self.path / RECORDS, "ab")
        try:
            self._lock()
            if not (self.path / MARKER).exists():
                json_files.write(self.path / MARKER, {"version": VERSION} | identity)
            self.records = self._read()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Releases the folder for other processes."""
        self._file.close()

    def add(self, records):
        """Writes down that pictures are done: a list of dicts with the keys _RECORD_KEYS."""
        lines = "".join(json.dumps(record) + "\n" for record in records)
        self._file.write(lines.encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records |= {record["file"]: record for record in records}

    def write(self, relative, content):
        """Gives a file below the folder these bytes, whole or not at all."""
        target = self.path / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        json_files.replace_file(target, content)

    def _check(self, identity):
        there = out_folder.names_in(self.path, "the predictions")
        if MARKER not in there:
            # what a run leaves that was killed before its first picture, and hidden files
            left = (RECORDS, f"{MARKER}.tmp")
            others = [name for name in there if name not in left and not name.startswith(".")]
            return out_folder.refuse_others(self.path, others)
        remedy = "remove the folder, or name another --out"
        found = json_files.read(self.path / MARKER, remedy, keys=tuple(_MUST_AGREE))
        for key, word in _MUST_AGREE.items():
            if found[key] != identity[key]:
                was, now = (_tell(key, of) for of in (found, identity))
                raise UserError(
                    f"--out={self.path}: holds predictions of another {word}, {was}; this is {now}:"
                    " name another --out, or remove that folder"
                )

    def _lock(self):
        """The system releases the lock when the process ends, however it ends."""
        if folder_lock.try_lock(self._file) is False:
            raise UserError(
                f"--out={self.path}: another process is writing its predictions there; wait for it,"
                " or name another --out"
            )

    def _read(self):
        """The whole lines of finished.jsonl, the last one of a picture; a torn end is cut off."""
        content = (self.path / RECORDS).read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path / RECORDS, whole)
        found = {}
        for line in content[:whole].splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # damaged: predicted again
                record = json.loads(line)
                if all(key in record for key in _RECORD_KEYS):
                    found[record["file"]] = record
        return found


def _tell(key, of):
    """How a message names one side of a difference."""
    if key in ("model", "stage", "step"):
        return f"stage {of['stage']} at step {of['step']} of {of.get('workdir', '?')}"
    return str(of[key])
