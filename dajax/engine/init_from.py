"""What a stage begins with where its `init_from` says so: the networks of a stage before it, or
those of a finished stage of another workdir.

<workdir>/init_from.json records the networks that each stage takes from another workdir. A stage
that has not begun gets exactly these, or the run stops with a message. The run does not read the
other workdir any more once the stage has begun.
"""

import dataclasses
import hashlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from dajax.engine import checkpoint, json_files, other_workdir, rounds, teacher
from dajax.errors import UserError
from dajax.settings import starts_of
from dajax.state import adopt, check_fits

RECORD = "init_from.json"
_REMEDY = (
    "the checkpoints are whole: remove that file, and the same command writes it anew from what it"
    " finds"
)
_NETWORKS = ("params", "batch_stats")


@dataclasses.dataclass(frozen=True)
class Origin:
    """A stage of another workdir that a stage of this run begins with.

    Attributes:
      stage: other_workdir.FinishedStage.
      shapes: {"params", "batch_stats"} of jax.ShapeDtypeStruct, by network.
      sha256: of these networks, whatever files they lie in.
    """

    stage: other_workdir.FinishedStage
    shapes: Any
    sha256: str

    def record(self):
        """What init_from.json says of it."""
        return {"folder": str(self.stage.folder), "step": self.stage.step, "sha256": self.sha256}


def origins(config, workdir, names):
    """The Origin of each of the stages `names` that begins with another workdir, {name: Origin}.

    Raises:
      UserError: one is missing, unfinished, damaged or of another task; or it holds other networks
        than init_from.json records.
    """
    path = workdir / RECORD
    recorded = json_files.read(path, _REMEDY) if path.exists() else {}
    found = {}
    for name in names:
        if other_workdir.is_path(config[name].init_from):
            found[name], _ = _open(config, name, workdir)
            if name in recorded:
                _compare(recorded[name], found[name], name, workdir)
    return found


def _open(config, name, workdir):
    """(Origin, the networks that it hands on) of a stage."""
    init_from = config[name].init_from
    stage = other_workdir.find(name, init_from, task=config.task, workdir=workdir)
    directory = stage.folder / "checkpoints"
    if stage.step not in checkpoint.steps(directory):
        raise UserError(
            f"{stage.what}: its last checkpoint, of step {stage.step}, is not there; put it back"
            f" from a copy, or remove {stage.folder / 'result.json'} and run that workdir again"
        )
    try:
        saved, _ = checkpoint.read(directory, stage.step)
    except UserError as error:
        raise UserError(f"{stage.what}: {error}") from error
    saved = teacher.predicting(saved, ConfigDict(stage.stage_config))
    networks = {key: saved[key] for key in _NETWORKS}
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), networks)
    return Origin(stage, shapes, _digest(networks)), networks


def _digest(networks):
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(networks):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}\n".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _compare(recorded, origin, name, workdir):
    if recorded.get("sha256") != origin.sha256:
        raise UserError(
            f"{workdir} was begun to start stage {name} from {recorded.get('folder')} (step"
            f" {recorded.get('step')}, sha256 {str(recorded.get('sha256'))[:8]});"
            f" {origin.stage.what} holds another network (step {origin.stage.step}, sha256"
            f" {origin.sha256[:8]}): restore the first, or use another --workdir"
        )


def check_classes(found, class_names):
    """Checks that the stages of other workdirs were trained on the classes of this run's data.

    Args:
      found: as `origins` returns it. class_names: K names.

    Raises:
      UserError: naming the first class that differs.
    """
    for origin in found.values():
        there, here = origin.stage.class_names, tuple(class_names)
        if there != here:
            k = next((k for k in range(min(len(there), len(here))) if there[k] != here[k]), None)
            differ = "" if k is None else f", and class {k} is {there[k]} there, {here[k]} here"
            raise UserError(
                f"{origin.stage.what}: was trained on other classes: {len(there)} there,"
                f" {len(here)} here{differ}; begin with a stage of the same classes"
            )


def check_networks(origin, shapes, config):
    """Checks that the networks of another workdir's stage fit a stage of this run.

    Args:
      shapes: TrainState of jax.ShapeDtypeStruct, of the stage that begins with them.
      config: the run's; the message names settings of its model that differ.

    Raises:
      UserError: the first entry that is missing, left over, or of another shape.
    """
    here, there = config.model.to_dict(), origin.stage.model_config
    differing = [
        f"config.model.{key}={there.get(key)} there, {value} here"
        for key, value in here.items()
        if _as_list(there.get(key)) != _as_list(value) and key != "weights"
    ]
    try:
        for key in _NETWORKS:
            wanted, found = getattr(shapes, key), origin.shapes[key]
            for network in sorted(wanted.keys() & found.keys()):
                check_fits(wanted[network], found[network], what=origin.stage.what)
    except UserError as error:
        raise UserError("; ".join([str(error), *differing])) from error


def _as_list(value):
    """JSON knows no tuples."""
    return [_as_list(part) for part in value] if isinstance(value, (list, tuple)) else value


def remember(found, config, workdir):
    """Writes init_from.json: the origins of the stages that have not begun are added, stages that
    the run no longer has are removed.
    """
    path = workdir / RECORD
    recorded = json_files.read(path, _REMEDY) if path.exists() else {}
    now = {name: record for name, record in recorded.items() if name in config.stages}
    now |= {name: origin.record() for name, origin in found.items()}
    if now != recorded:
        json_files.write(path, now)


def begin(state, config, name, workdir):
    """`state` with the networks that config.<name>.init_from names, or those that were kept in
    place of that round.

    Raises:
      UserError: they do not fit, or are others than init_from.json records.
    """
    init_from = config[name].init_from
    starts = starts_of(init_from)
    if len(starts) > 1:
        return _begin_mean(state, starts, config, name, workdir)
    if not other_workdir.is_path(init_from):
        kept, saved = _kept(starts[0], config, workdir)
        return with_networks(state, saved, what=f"config.{name}.init_from={kept}")
    origin, networks = _open(config, name, workdir)
    _compare(json_files.read(workdir / RECORD, _REMEDY, keys=(name,))[name], origin, name, workdir)
    return with_networks(state, networks, what=origin.stage.what)


def _kept(start, config, workdir):
    """(the stage that was kept in place of stage `start`, its networks)."""
    kept = rounds.kept_of(workdir, start)
    saved, _ = checkpoint.read(workdir / kept / "checkpoints")
    return kept, teacher.predicting(saved, config[kept])


def _begin_mean(state, starts, config, name, workdir):
    """`state` of a MeanOfNetworks with the networks of several stages as its members."""
    found = [_kept(start, config, workdir) for start in starts]
    saved = {
        key: {
            network: {f"member{i}": one[key][network] for i, (_, one) in enumerate(found)}
            for network in getattr(state, key)
        }
        for key in _NETWORKS
    }
    what = f"config.{name}.init_from={tuple(kept for kept, _ in found)}"
    return with_networks(state, saved, what=what)


def with_networks(state, saved, *, what):
    """`state` with the networks of a checkpoint; networks that the other stage did not have (a
    discriminator) stay as they are.
    """

    def begin(trees, found):
        return {
            name: adopt(tree, found[name], what=what) if name in found else tree
            for name, tree in trees.items()
        }

    return state.replace(
        params=begin(state.params, saved["params"]),
        batch_stats=begin(state.batch_stats, saved["batch_stats"]),
    )
