"""Whatever has ended a run, as one line with a remedy that is chosen by the cause. Knows exceptions
by name: imports no jax.
"""

import errno
import re

from dajax.errors import UserError

# Characters of a line. Messages with two paths and a remedy take about 400; a path alone may have
# 4096.
LONGEST_LINE = 1500
_CUT = " [...] "

_AGAIN = "then run the same command again"
_REMEDIES = {
    errno.ENOSPC: f"the disk is full: free some space, {_AGAIN}",
    errno.EDQUOT: f"your quota is used up: free some space, {_AGAIN}",
    errno.EFBIG: (
        f"files may not become that long here: raise the limit (ulimit -f unlimited), {_AGAIN}"
    ),
    errno.EACCES: f"give this user the right to it, or choose another place, {_AGAIN}",
    errno.EPERM: f"give this user the right to it, or choose another place, {_AGAIN}",
    errno.EROFS: "it lies on a read-only file system: choose another place",
    errno.EMFILE: f"too many files are open: allow more (ulimit -n 65536), {_AGAIN}",
    errno.ENFILE: f"too many files are open on this machine: close other programs, {_AGAIN}",
    errno.EADDRINUSE: (
        "the address or port belongs to another process: "
        f"end that one or choose another port, {_AGAIN}"
    ),
    errno.EADDRNOTAVAIL: "this machine has no such network address: choose one that it has",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ENOMEM: (
        f"the machine's memory is used up: end other programs or lower batch sizes, {_AGAIN}"
    ),
    errno.EIO: f"the disk or the network file system has failed: look at it, {_AGAIN}",
    errno.ESTALE: f"the network file system has lost the file: mount it again, {_AGAIN}",
    errno.ENOTCONN: f"the network file system is gone: mount it again, {_AGAIN}",
    errno.ETIMEDOUT: f"the network or its file system does not answer: look at it, {_AGAIN}",
    errno.ENOENT: f"restore it or correct the path, {_AGAIN}",
    errno.ENOTDIR: "a part of the path is no folder: choose another place",
    errno.EISDIR: f"a folder is where a file belongs: move it away, or name a file, {_AGAIN}",
    errno.EEXIST: f"something else stands where a folder belongs: move it away, {_AGAIN}",
    errno.ELOOP: "a symbolic link there leads back to itself: remove it, or choose another place",
}
_FEWER = (
    "lower batch_size of the stage (--config.STAGE.batch_size), --config.runtime.eval_batch_size "
    "or the size of the images, "
    f"or take more devices, {_AGAIN}"
)
# all that a ConfigDict says of a key that it does not have
_CONFIG_KEY = re.compile(r"[\"'\\]+(\w+)[\"'\\]+(nDid |\n|$)")
_RUNTIME_ERRORS = {"JaxRuntimeError", "XlaRuntimeError", "RuntimeError", "InternalError"}


def describe(error):
    """One printable line for an exception, without "error: "."""
    return one_line(_describe(error))


def one_line(text, longest=LONGEST_LINE):
    """`text` as one line that any terminal shows as it is, see data_pipeline.errors.printable.

    Args:
      text: str.
      longest: characters. Of a longer text the middle is cut out: what is wrong stands at its
        beginning, and what to do at its end.
    """
    from data_pipeline.errors import printable

    text = text.strip()
    if len(text) > longest:
        head = (longest - len(_CUT)) * 2 // 3
        text = text[:head] + _CUT + text[len(text) - (longest - len(_CUT) - head) :]
    return printable(text)


def _describe(error):
    from data_pipeline.errors import DataError

    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, (UserError, DataError)):
        return str(error)
    text = str(error)
    if isinstance(error, MemoryError):
        return (
            f"the machine's memory is used up{': ' + text if text else ''}; end other programs, or "
            f"{_FEWER}"
        )
    if "RESOURCE_EXHAUSTED" in text or (
        names & _RUNTIME_ERRORS and "out of memory" in text.lower()
    ):
        return f"out of memory on the device: {_first_line(text)}; {_FEWER}"
    if "ResourceExhaustedError" in names:  # TensorFlow, which reads the images
        return (
            f"the machine's memory is used up while reading images: {_first_line(text)}; end other "
            f"programs, or {_FEWER}"
        )
    if isinstance(error, OSError):
        return _describe_os_error(error)
    if names & _RUNTIME_ERRORS and ("initialize backend" in text or "Unknown backend" in text):
        return (
            f"JAX finds no device: {_first_line(text)}; unset JAX_PLATFORMS, or install the "
            "requirements of that device"
        )
    if "disk quota exceeded" in text.lower() or "no space left" in text.lower():
        return f"{_first_line(text)}; {_REMEDIES[errno.ENOSPC]}"
    if isinstance(error, AttributeError) and (key := _CONFIG_KEY.match(text)):
        return (
            f"the config has no key '{key[1]}', which is read here: a method finds its settings in "
            "a stage of its own recipe alone; choose that recipe, or add the key to the config file"
        )
    kind = type(error).__name__
    return (
        f"{kind}: {text or 'without a message'}; this was not foreseen: run with --debug for the "
        "traceback, and please report it"
    )


def _first_line(text):
    return text.strip().partition("\n")[0].rstrip(" .:;")


def _describe_os_error(error):
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    what = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(
        error.errno,
        (
            "look at the file, the disk or the network"
            if files
            else "run with --debug for the traceback"
        ),
    )
    return f"{' and '.join(files) + ': ' if files else ''}{what}; {remedy}"
