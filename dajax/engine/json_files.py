"""The JSON files of a workdir, in one place: written whole or not at all, and a damaged one is a
line that names it.
"""

import contextlib
import json
import os

from dajax import processes
from dajax.errors import UserError


def read(path, remedy, keys=()):
    """The object that a JSON file holds.

    Args:
      path: pathlib.Path.
      remedy: what to do where the file is damaged; ends the message.
      keys: that the object must have.

    Raises:
      UserError: the file cannot be read, was cut short or emptied, is no JSON, is not UTF-8, holds
        something else than an object, or lacks a key.
    """
    try:
        return parse(path.read_bytes(), keys)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except ValueError as error:
        raise UserError(f"{path}: is damaged ({error}); {remedy}") from error


def parse(data, keys=()):
    """The object in the bytes of a JSON file.

    Raises:
      ValueError: what is wrong with it, in a few words.
    """
    if not data.strip(b"\0 \t\r\n"):
        raise ValueError("it is empty" if not data else "it holds nothing but blanks or zeros")
    try:
        content = json.loads(data)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is no UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"no JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise ValueError("no JSON of ours: nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, expected an object")
    for key in keys:
        if key not in content:
            raise ValueError(f"it has no '{key}'")
    return content


def write(path, content):
    """Writes a JSON file whole or not at all: to a neighbour first, then renamed over `path`. Of
    several processes of a run the first one does.
    """
    if not processes.is_first():
        return
    replace_file(path, (json.dumps(content, indent=2) + "\n").encode())


def replace_file(path, content):
    """Gives a file other bytes: to a neighbour first, then renamed over `path`.

    Raises:
      OSError: it cannot be written; names the file. What is half written, which may be what fills
        the disk, is gone.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # the system names none where it writes
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
