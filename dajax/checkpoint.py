"""Orbax, in one file. A checkpoint is a TrainState as plain numpy (no device, no sharding) and a small JSON beside it."""

import pathlib
import shutil

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp

from dajax.errors import UserError
from dajax.state import to_host

_MIB = 2**20
# Index files, and the JSON: what a checkpoint needs beyond its arrays. Generous; a run that stops early beats a torn disk.
_SPARE_BYTES = 4 * _MIB


class Checkpoints:
    """The last `keep` checkpoints of one stage, written in the background.

    A checkpoint appears under its final name by one rename, after everything in it is on disk: killing the process half-way leaves the
    previous ones untouched, and the remains are swept away at the next start.

    Args:
      directory: folder of this stage's checkpoints, created.
      keep: how many to keep; the newest ones. Never "the best": in unsupervised adaptation there is no label to choose by.
    """

    def __init__(self, directory, keep):
        self.directory = pathlib.Path(directory).absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        for remains in self.directory.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(remains)
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def latest_step(self):
        """Step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, state, meta):
        """Begins to write `state` and the JSON-able `meta`; returns once the state is copied, the writing goes on in the background.

        Raises:
          UserError: the disk is too full, or an earlier write has failed. Checkpoints written before stay.
        """
        tree = flax.serialization.to_state_dict(to_host(state))
        self._check_space(sum(leaf.nbytes for leaf in jax.tree.leaves(tree)))
        args = ocp.args.Composite(state=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(meta))
        self._guard(lambda: self._manager.save(int(state.step), args=args, force=True))

    def wait(self):
        """Returns when everything is on disk.

        Raises:
          UserError: a write has failed.
        """
        self._guard(self._manager.wait_until_finished)

    def close(self):
        """Waits for writes and releases Orbax's threads."""
        self.wait()
        self._manager.close()

    def restore(self, template, step=None):
        """(state, meta) of a step, by default the newest, in the structure of `template`.

        Raises:
          UserError: the checkpoint holds another kind of state.
        """
        tree, meta = read(self.directory, step, manager=self._manager)
        try:
            state = flax.serialization.from_state_dict(template, tree)
        except (ValueError, KeyError) as error:
            raise UserError(f"{self.directory}: is not a checkpoint of this method and model ({str(error).splitlines()[0]})") from error
        for (path, wanted), found in zip(jax.tree_util.tree_leaves_with_path(template), jax.tree.leaves(state), strict=True):
            if np.shape(wanted) != np.shape(found):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise UserError(f"{self.directory}: {name} has shape {np.shape(found)}, this run needs {np.shape(wanted)}; has the data changed?")
        return state, meta

    def _check_space(self, needed):
        free = shutil.disk_usage(self.directory).free
        if free < needed + _SPARE_BYTES:
            raise UserError(self._lament(f"the disk has {free / _MIB:.0f} MiB free, a checkpoint needs {(needed + _SPARE_BYTES) / _MIB:.0f} MiB"))

    def _lament(self, reason):
        last = self.latest_step()
        kept = "no checkpoint exists yet" if last is None else f"the checkpoint of step {last} is complete"
        return f"cannot write a checkpoint under {self.directory}: {reason}; {kept}. Free some space, then run the same command again"

    def _guard(self, write):
        # Orbax and TensorStore pass operating-system errors on as either of these.
        try:
            write()
        except (OSError, ValueError) as error:
            raise UserError(self._lament(str(error).splitlines()[0])) from error


def read(directory, step=None, *, manager=None):
    """The raw content of a checkpoint, with numpy alone: no model, no template, any number of devices.

    Args:
      directory: a stage's `checkpoints` folder.
      step: which one; the newest when None.

    Returns:
      (nested dict of numpy arrays with the fields of TrainState, meta dict).

    Raises:
      UserError: no complete checkpoint there.
    """
    directory = pathlib.Path(directory).absolute()
    own = manager is None
    if own and not directory.is_dir():
        raise UserError(f"no checkpoints under {directory}: has this stage been run?")
    manager = manager or ocp.CheckpointManager(directory, options=ocp.CheckpointManagerOptions(create=False))
    step = manager.latest_step() if step is None else step
    if step is None or step not in manager.all_steps():
        which = "" if step is None else f" of step {step}"
        raise UserError(f"no complete checkpoint{which} under {directory}; found steps {list(manager.all_steps())}")
    restored = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(), meta=ocp.args.JsonRestore()))
    if own:
        manager.close()
    return restored["state"], restored["meta"]
