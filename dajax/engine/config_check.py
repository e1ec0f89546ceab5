"""Whether a workdir belongs to the config that a run was started with: its config.json.

Where data and weights lie is not what they are: those keys may differ from call to call, and
fingerprints.py says whether they are the same.
"""

import json
import re

from dajax import processes
from dajax.engine import json_files
from dajax.engine.old_config import with_added_keys
from dajax.engine.other_workdir import is_path
from dajax.errors import UserError

# Everything under this key may differ between two calls on one workdir: it changes what is printed
# and kept, not what is computed.
FREE_KEY = "runtime"
# How often a stage is evaluated, neither: a batch is a function of its step alone. What a gradient
# keeps and what it computes again differs in rounding alone, as another number of devices does.
_FREE = re.compile(r"[^.]+\.evaluate_every|model\.remat")
# These say where something lies; dataset.json, weights.json and init_from.json say what it is.
PLACES = re.compile(
    r"data\.((source|target|evaluation|scenes)\.)?root|data\.(download|target_list)|model\.weights"
    r"|[^.]+\.init_from"
)
# of a damaged record
REMEDY = (
    "the checkpoints are whole: remove that file, and the same command writes it anew from what it"
    " is given"
)
# config.json comes last: the others say nothing without it.
_RECORDS = ("dataset.json", "weights.json", "init_from.json", "environment.json", "config.json")


def flatten(tree, prefix=""):
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _fixed(tree):
    flat = flatten({key: value for key, value in tree.items() if key != FREE_KEY})
    return {key: value for key, value in flat.items() if not _FREE.fullmatch(key)}


def check_config(config, workdir):
    """Writes config.json into a new workdir; refuses another config in an old one.

    config.stages may gain stages at its end, and may lose stages at its end that have not begun.
    The settings of such stages may differ. Everything that was trained stays as it is.

    Returns:
      {key: (value there, value now)} of the PLACES that have changed, which is for fingerprints
        and init_from.origins to judge.

    Raises:
      UserError: naming the keys that differ and both values; or config.json is damaged.
    """
    path, tree = workdir / "config.json", json.loads(config.to_json())
    if not path.exists():
        json_files.write(path, tree)
        return {}
    stored = with_added_keys(json_files.read(path, REMEDY))
    # a recipe of the user's own may lack the same keys as a config.json of the version before
    wanted, found = _fixed(with_added_keys(tree)), _fixed(stored)
    tail = _changed_tail(stored.get("stages"), tree["stages"], workdir)
    not_begun = {name for name in tail if not is_begun(workdir / name)}
    changed = {
        key: (found.get(key, "absent"), wanted.get(key, "absent"))
        for key in sorted(wanted.keys() | found.keys())
        if found.get(key, "absent") != wanted.get(key, "absent")
        and not (key == "stages" and tail)
        and key.partition(".")[0] not in not_begun
    }
    places = {
        key: values
        for key, values in changed.items()
        if PLACES.fullmatch(key) and _is_another_place(key, *values)
    }
    differing = [
        f"{key}={there} there, {now} now"
        for key, (there, now) in changed.items()
        if key not in places
    ]
    if differing:
        more = f" and {len(differing) - 6} more" if len(differing) > 6 else ""
        raise UserError(
            f"{workdir} was begun with another config: {', '.join(differing[:6])}{more}; use the"
            " same config, or another --workdir"
        )
    return places


def _changed_tail(there, now, workdir):
    """The stages at the end by which one of two lists is longer; [] where the lists are equal or
    differ before their end.

    Raises:
      UserError: `now` leaves out a stage that has saved something.
    """
    if not isinstance(there, list) or there == now:
        return []
    if now[: len(there)] == there:
        return now[len(there) :]
    if there[: len(now)] != now:
        return []
    for name in there[len(now) :]:
        if is_begun(workdir / name):
            raise UserError(
                f"{workdir} has stage '{name}', which has begun and which config.stages leaves out:"
                f" name it again at the end of config.stages, or move {workdir / name} away"
            )
    return there[len(now) :]


def is_begun(directory):
    """Whether a stage has saved anything, a checkpoint or its result; of a workdir, whether one of
    its stages has.
    """
    saved = (
        path
        for stage in (directory, *(path for path in directory.glob("*") if path.is_dir()))
        for path in (*stage.glob("checkpoints/*"), *stage.glob("result.json"))
    )
    return any(
        path.name == "result.json" or re.fullmatch(r"\d+(\.damaged.*)?", path.name)
        for path in saved
    )


def forget_unless_begun(workdir):
    """Removes what a run has written down of its config, data, weights and environment, where it
    has ended before its first checkpoint: nothing was made with them, so whoever has mended the
    mistake that ended it may go on with the same --workdir.

    A config.json that is none of dajax stays, for check_config to refuse.
    """
    path = workdir / "config.json"
    if not processes.is_first() or not path.exists() or is_begun(workdir):
        return
    try:
        json_files.parse(path.read_bytes(), keys=("stages", "task", "model", "data", FREE_KEY))
    except (OSError, ValueError):
        return
    for name in _RECORDS:
        (workdir / name).unlink(missing_ok=True)


def _is_another_place(key, there, now):
    """Whether both values name a place. Weights and no weights are no two places, nor are two
    stages of the run. The scenes and tfds have a default root, so "" names a place.
    """
    if "absent" in (there, now):
        return False
    if key.endswith(".init_from"):
        return is_path(there) and is_path(now)
    return key != "model.weights" or bool(there) == bool(now)


def remember(config, workdir):
    """Writes into config.json where data, weights and other workdirs lie now, and which stages were
    added or removed at the end. For a config that has passed all checks.
    """
    path = workdir / "config.json"
    stored, now = json_files.read(path, REMEDY), json.loads(config.to_json())
    tree = json.loads(json.dumps(stored))
    tail = _changed_tail(tree["stages"], now["stages"], workdir)
    tree["stages"] = now["stages"]
    tree |= {name: now[name] for name in tail if name in now and not is_begun(workdir / name)}
    for key in filter(PLACES.fullmatch, flatten(now)):
        *parents, last = key.split(".")
        there, here = tree, now
        for parent in parents:
            there, here = there[parent], here[parent]
        there[last] = here[last]
    if tree != stored:
        json_files.write(path, tree)
