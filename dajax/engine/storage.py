"""Why the operating system would not write or read a file, and what helps against that cause and no
other.
"""

import contextlib
import errno
import os
import re

from dajax.errors import UserError

# TensorStore passes an operating-system error on as text in a ValueError: "... File too large
# [os_error_code='27']".
_NUMBER_IN_TEXT = re.compile(r"os_error_code='?(\d+)")

_PERMISSION = "give this user the right to write there (chown, chmod), or take another --workdir"
_NETWORK = "mount the network file system again"
_REMEDIES = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "your quota is used up: delete files of yours, or have it raised",
    errno.EFBIG: "files may not become that long here: raise the limit (ulimit -f unlimited)",
    errno.EROFS: "mount the file system for writing, or copy the workdir to one that is",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EIO: "the disk is failing (see dmesg): copy the workdir to another one",
    errno.ENOENT: "the folder was moved or deleted meanwhile: put it back",
    errno.ENOTDIR: "something else stands where a folder was: move it away",
    errno.EISDIR: "a folder stands where a file belongs: move it away",
    errno.EEXIST: "something else stands where a folder belongs: move it away",
    errno.ELOOP: "a symbolic link there leads back to itself: remove it",
    errno.EMFILE: "this process may not open so many files: raise the limit (ulimit -n 4096)",
    errno.ENFILE: "the machine has too many files open: end other programs",
    errno.ENOMEM: "the machine is out of memory: end other programs",
    errno.ESTALE: _NETWORK,
    errno.ENOTCONN: _NETWORK,
    errno.ETIMEDOUT: _NETWORK,
}
_LONGEST_REASON = 200  # characters of a message that names no cause known here


def cause(error):
    """(what the system says, what to do about it), one line each, of an OSError or of one that
    TensorStore has turned into text.

    Args:
      error: exception; the ones that led to it are looked through too.
    """
    while error is not None:
        found = _NUMBER_IN_TEXT.search(str(error))
        number = getattr(error, "errno", None) or (int(found.group(1)) if found else None)
        if number is not None:
            return os.strerror(number), _REMEDIES.get(number, "mend that")
        last, error = error, error.__cause__ or error.__context__
    lines = str(last).splitlines() or [type(last).__name__]
    return lines[0][:_LONGEST_REASON], "mend that"


def full_disk(free_bytes, needed_bytes):
    """The same pair for a disk that is found too full before anything is written."""
    mib = 2**20
    reason = (
        f"the disk has {free_bytes / mib:.0f} MiB free, a checkpoint needs "
        f"{needed_bytes / mib:.0f} MiB"
    )
    return reason, _REMEDIES[errno.ENOSPC]


@contextlib.contextmanager
def told(path):
    """A failure to write `path` within the block becomes a line with its remedy.

    Raises:
      UserError: for an OSError.
    """
    try:
        yield
    except OSError as error:
        reason, remedy = cause(error)
        raise UserError(
            f"cannot write {path}: {reason}. To go on, {remedy}, then run the same command again"
        ) from error
