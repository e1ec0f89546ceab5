"""The checkpoints of a stage: which of them are kept, which one is taken, and what is said of those
that are damaged. What one of them is: checkpoint_folder.py.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import shutil
from typing import Any

import flax.serialization
import jax
import numpy as np

from dajax import console
from dajax.engine import checkpoint_folder, checksums, storage
from dajax.engine.checksums import Damaged
from dajax.errors import UserError
from dajax.state import to_host

# Index files, and the JSON: what a checkpoint needs beyond its arrays. Generous; a run that stops
# early beats a torn disk.
_SPARE_BYTES = 4 * 2**20
# Names in a folder of checkpoints. Only <step> is a checkpoint; the others are on their way in, on
# their way out, or set aside.
_UNFINISHED, _REMOVED, _DAMAGED = ".unfinished", ".removed", ".damaged"
# the last: of the versions before checksums
_REMAINS = (f"*{_UNFINISHED}*", f"*{_REMOVED}", "*.orbax-checkpoint-tmp*")


class Checkpoints:
    """The last `keep` checkpoints of one stage, and those of every `keep_every` steps, written in
    the background by a thread of its own.

    A checkpoint appears under its final name by one rename, after everything in it, its checksums
    included, is on disk: killing the process half-way leaves the previous ones untouched, and the
    remains are swept away at the next start. Leaving the context waits for what is being written;
    an error on the way out is the first one.

    Args:
      directory: folder of this stage's checkpoints, created.
      keep: how many to keep; the newest ones. Never "the best": in unsupervised adaptation there is
        no label to choose by.
      keep_every: of which steps' multiples those are kept beside them; 0 for none.

    Raises:
      UserError: the folder cannot be made, or not be written to.
    """

    def __init__(self, directory, keep, keep_every=0):
        self.directory, self._keep = pathlib.Path(directory).absolute(), keep
        self._keep_every = keep_every
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing = None
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            for remains in {path for pattern in _REMAINS for path in self.directory.glob(pattern)}:
                is_folder = remains.is_dir() and not remains.is_symlink()
                shutil.rmtree(remains) if is_folder else remains.unlink()
        except OSError as error:
            raise UserError(_unwritable(self.directory, error)) from error

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(UserError):
                self.close()

    def latest_step(self):
        """Step of the newest checkpoint on disk, or None; without one that is being written."""
        return max(steps(self.directory), default=None)

    def save(self, state, meta):
        """Begins to write `state` and the JSON-able `meta`; returns once the state is copied, the
        writing goes on in the background.

        Raises:
          UserError: the disk is too full, or an earlier write has failed. Checkpoints written
            before stay.
        """
        self.wait()
        tree = flax.serialization.to_state_dict(to_host(state))
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) + _SPARE_BYTES
        free = shutil.disk_usage(self.directory).free
        if free < needed:
            raise UserError(self._lament(*storage.full_disk(free, needed)))
        self._writing = self._thread.submit(self._write, int(state.step), tree, meta)

    def wait(self):
        """Returns when everything is on disk.

        Raises:
          UserError: a write has failed.
        """
        writing, self._writing = self._writing, None
        try:
            if writing is not None:
                writing.result()
        # TensorStore passes the system's errors on as the latter
        except (OSError, ValueError) as error:
            raise UserError(self._lament(*storage.cause(error))) from error

    def close(self):
        """Waits for writes and releases the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def restore(self, template, meta_types=None):
        """(state, meta) of the newest checkpoint that is whole, in the structure of `template`.

        Newer ones that are damaged are said, and set aside under another name, so that the steps
        that come again can be saved.

        Args:
          template: TrainState, or the same tree of `jax.ShapeDtypeStruct`.
          meta_types: {key: type or tuple of types} that `meta` must hold; a checkpoint in which it
            does not, which only one without checksums can be, counts as damaged.

        Raises:
          UserError: no whole checkpoint is left, or it holds another kind of state.
        """
        found = _newest_whole(self.directory, steps(self.directory), meta_types or {})
        try:
            state = flax.serialization.from_state_dict(template, found.tree)
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{self.directory}: is not a checkpoint of this method and model"
                f" ({str(error).splitlines()[0]})"
            ) from error
        for (path, wanted), leaf in zip(
            jax.tree_util.tree_leaves_with_path(template), jax.tree.leaves(state), strict=True
        ):
            if wanted.shape != np.shape(leaf):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise UserError(
                    f"{self.directory}: {name} has shape {np.shape(leaf)}, this run needs"
                    f" {wanted.shape}; has the data changed?"
                )
        for step, why in found.damaged.items():
            kept = self._set_aside(step)
            console.say(
                _damage(self.directory, step, why)
                + f"; it is kept as {kept}, and the stage goes on from step {found.step}"
            )
        return state, found.meta

    def _write(self, step, tree, meta):
        """In the thread. Orbax takes its own name for what is unfinished, and renames; the
        checksums come before ours.
        """
        unfinished = self.directory / f"{step}{_UNFINISHED}"
        try:
            checkpoint_folder.write(unfinished, tree, meta)
            os.rename(unfinished, self.directory / str(step))
            checkpoint_folder.sync(self.directory)
        except BaseException:
            # what is half written may be what fills the disk
            for remains in self.directory.glob(f"{unfinished.name}*"):
                shutil.rmtree(remains, ignore_errors=True)
            raise
        for old in steps(self.directory)[: -self._keep]:
            if self._keep_every and old % self._keep_every == 0:
                continue
            gone = self.directory / f"{old}{_REMOVED}"
            # never half a checkpoint under the name of a whole one
            os.rename(self.directory / str(old), gone)
            shutil.rmtree(gone)

    def _set_aside(self, step):
        """Renames a damaged checkpoint, which may still be worth something to its owner; its new
        name.
        """
        taken = sum(1 for _ in self.directory.glob(f"{step}{_DAMAGED}*"))
        name = f"{step}{_DAMAGED}" + (f"-{taken + 1}" if taken else "")
        try:
            os.rename(self.directory / str(step), self.directory / name)
        except OSError as error:
            raise UserError(_unwritable(self.directory, error)) from error
        return name

    def _lament(self, reason, remedy):
        kept = "no checkpoint exists yet"
        for step in reversed(steps(self.directory)):
            with contextlib.suppress(Damaged, OSError):
                is_verified = checksums.verify(self.directory / str(step))
                kept = f"the checkpoint of step {step} " + (
                    "is complete" if is_verified else "stays, without checksums"
                )
                break
            kept = "no checkpoint is whole"
        return (
            f"cannot write a checkpoint under {self.directory}: {reason}; {kept}. To go on,"
            f" {remedy}, then run the same command again"
        )


def steps(directory):
    """Steps of the checkpoints in a folder, ascending; whether they are whole is for their reader
    to find out.
    """
    directory = pathlib.Path(directory)
    names = (
        [path.name for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []
    )
    return sorted(int(name) for name in names if name.isdecimal() and name == str(int(name)))


def exists(directory):
    """Whether a stage's directory has a checkpoint."""
    return bool(steps(pathlib.Path(directory) / "checkpoints"))


def newest_whole_step(directory):
    """Step of the newest checkpoint that is whole, or None; says nothing."""
    for step in reversed(steps(directory)):
        folder = pathlib.Path(directory).absolute() / str(step)
        with contextlib.suppress(Damaged):
            if not checkpoint_folder.verify(folder):
                checkpoint_folder.read(folder)
            return step
    return None


def read(directory, step=None):
    """The raw content of a checkpoint, with numpy alone: no model, no template, any number of
    devices. Writes nothing.

    Args:
      directory: a stage's `checkpoints` folder.
      step: which one; when None, the newest that is whole, and newer ones that are damaged are
        said.

    Returns:
      (nested dict of numpy arrays with the fields of TrainState, meta dict).

    Raises:
      UserError: no complete checkpoint there, or the one asked for is damaged.
    """
    directory = pathlib.Path(directory).absolute()
    if not directory.is_dir():
        raise UserError(f"no checkpoints under {directory}: has this stage been run?")
    known = steps(directory)
    if not known or (step is not None and step not in known):
        which = "" if step is None else f" of step {step}"
        raise UserError(f"no complete checkpoint{which} under {directory}; found steps {known}")
    found = _newest_whole(directory, known if step is None else [step], {})
    for damaged, why in found.damaged.items():
        console.say(
            _damage(directory, damaged, why) + f"; that of step {found.step} is taken instead"
        )
    return found.tree, found.meta


@dataclasses.dataclass(frozen=True)
class _Found:
    """A checkpoint that is whole, as far as its checksums can tell. `damaged`: {step: what is
    wrong} of the newer ones.
    """

    step: int
    tree: Any
    meta: dict
    damaged: dict


def _newest_whole(directory, candidates, meta_types):
    """The _Found of the newest of `candidates`, ascending steps. Raises UserError when none is
    whole.
    """
    damaged = {}
    for step in reversed(candidates):
        try:
            tree, meta, is_verified = checkpoint_folder.read(directory / str(step))
            _check_types(meta, meta_types)
        except Damaged as error:
            damaged[step] = str(error)
            continue
        if not is_verified:
            console.say(
                f"{directory}: the checkpoint of step {step} has no checksums, an earlier version"
                " of dajax wrote it; taken as it is"
            )
        return _Found(step, tree, meta, damaged)
    reasons = ", ".join(f"step {step} ({why})" for step, why in damaged.items())
    raise UserError(
        f"{directory}: no checkpoint is left that is whole, damaged are {reasons}; put the files"
        f" back from a copy, or move {directory.parent} away to train that stage again from its"
        " beginning"
    )


def _check_types(meta, types):
    for key, kinds in types.items():
        if key not in meta or not isinstance(meta[key], kinds):
            found = type(meta[key]).__name__ if key in meta else "absent"
            raise Damaged(f"meta: '{key}' is not what dajax writes there, but {found}")


def _damage(directory, step, why):
    return f"{directory}: the checkpoint of step {step} is damaged ({why})"


def _unwritable(directory, error):
    reason, remedy = storage.cause(error)
    return (
        f"{directory}: cannot be written to: {reason}. To go on, {remedy}, then run the same"
        " command again"
    )
