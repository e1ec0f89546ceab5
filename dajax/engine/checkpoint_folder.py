"""One checkpoint: Orbax, in one file. A checkpoint is a TrainState as plain numpy (no device, no
sharding), a small JSON beside it, and the checksums of all its files, without which no reader takes
it.
"""

import os
import sys

import jax
import orbax.checkpoint as ocp

from dajax.engine import checksums, storage
from dajax.engine.checksums import Damaged
from dajax.errors import UserError

# key of the JSON: tells a list that is lost from a checkpoint that is older than such lists
_HAS_CHECKSUMS = "checksums"


def write(folder, tree, meta):
    """Writes a checkpoint and its checksums into a folder, and waits until they are on disk.

    Args:
      folder: pathlib.Path, absolute; created.
      tree: nested dict of numpy arrays. meta: dict, JSON-able.

    Raises:
      OSError, ValueError: it cannot be written; Orbax's own for TensorStore's part.
    """
    _WithoutLateCallbacks.install()
    args = ocp.args.Composite(
        state=ocp.args.StandardSave(tree),
        meta=ocp.args.JsonSave({_HAS_CHECKSUMS: checksums.NAME} | meta),
    )
    with _orbax() as orbax:
        orbax.save(folder, args=args, force=True)
    checksums.write(folder)
    sync(folder)


def _orbax():
    """Orbax, which works for this process alone: where a run has several, only one writes, and
    Orbax would wait for the others.
    """
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=own, active_processes={own})
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=alone),
        state=ocp.StandardCheckpointHandler(multiprocessing_options=alone),
        meta=ocp.JsonCheckpointHandler(multiprocessing_options=alone),
    )
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def read(folder):
    """(tree, meta, whether checksums vouch for them) of one checkpoint.

    Nothing is parsed before its checksum is right. A checkpoint of the versions before checksums is
    read for what it says; of its damage only what stops the parsers is noticed.

    Raises:
      Damaged: naming the file.
      UserError: it is whole, but cannot be read.
    """
    is_verified = verify(folder)
    _WithoutLateCallbacks.install()
    try:
        with _orbax() as orbax:
            args = ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore())
            restored = orbax.restore(folder, args=args)
        tree, meta, step = restored["state"], dict(restored["meta"]), int(restored["state"]["step"])
    # bytes that nothing vouches for make half a dozen parsers raise whatever they like
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        if is_verified:
            raise UserError(
                f"{folder}: is what was written, but orbax-checkpoint {ocp.__version__} cannot read"
                f" it ({reason}); install the version that results.json names"
            ) from error
        raise Damaged(f"it cannot be read: {reason}") from error
    if meta.pop(_HAS_CHECKSUMS, None) and not is_verified:
        raise Damaged(f"{checksums.NAME} is missing")
    if step != int(folder.name):
        raise Damaged(f"it holds step {step}")
    return tree, meta, is_verified


def verify(folder):
    """Whether the checksums of a checkpoint are there, and right.

    Raises:
      Damaged: they are there, and a file is not what was written. UserError: one cannot be read.
    """
    try:
        return checksums.verify(folder)
    except OSError as error:
        reason, remedy = storage.cause(error)
        raise UserError(f"{folder}: cannot be read: {reason}; {remedy}") from error


def sync(folder):
    """Makes the names in a folder outlive a power failure, as `os.fsync` does for the bytes of a
    file.
    """
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class _WithoutLateCallbacks:
    """A `sys.unraisablehook` that leaves out one kind of noise.

    When one array of a checkpoint cannot be written or read, Orbax closes its event loop while
    TensorStore is still at the others. Each of those then prints a stack trace that nobody can act
    on.
    """

    def __init__(self, hook):
        self._hook = hook

    def __call__(self, unraisable):
        if not (
            unraisable.exc_type is RuntimeError
            and str(unraisable.exc_value) == "Event loop is closed"
        ):
            self._hook(unraisable)

    @classmethod
    def install(cls):
        """For good, since nothing tells when the last one has come."""
        if not isinstance(sys.unraisablehook, cls):
            sys.unraisablehook = cls(sys.unraisablehook)
