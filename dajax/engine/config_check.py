"""Whether a workdir belongs to the config, the data and the weights that a run was started with.

Where data and weights lie is not what they are: those keys may differ from call to call, and what
is compared is fingerprints.
"""

import hashlib
import json
import os
import re

from dajax.engine import json_files
from dajax.engine.old_config import with_added_keys
from dajax.engine.other_workdir import is_path
from dajax.errors import UserError

# Everything under this key may differ between two calls on one workdir: it changes what is printed
# and kept, not what is computed.
FREE_KEY = "runtime"
# These say where something lies; dataset.json, weights.json and init_from.json say what it is.
PLACES = re.compile(
    r"data\.((source|target|evaluation|scenes)\.)?root|data\.download|model\.weights"
    r"|[^.]+\.init_from"
)
# Of the fingerprints in dataset.json. 1: names and labels (workdirs without a number); 2: sizes of
# files, too.
FINGERPRINT_VERSION = 2
_REMEDY = (
    "the checkpoints are whole: remove that file, and the same command writes it anew from what it"
    " is given"
)
# config.json comes last: the others say nothing without it.
_RECORDS = ("dataset.json", "weights.json", "init_from.json", "environment.json", "config.json")
_CHUNK_BYTES = 2**20


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
    return flatten({key: value for key, value in tree.items() if key != FREE_KEY})


def check_config(config, workdir):
    """Writes config.json into a new workdir; refuses another config in an old one.

    config.stages may gain stages at its end, and may lose stages at its end that have not begun.
    The settings of such stages may differ. Everything that was trained stays as it is.

    Returns:
      {key: (value there, value now)} of the PLACES that have changed, which is for check_data,
        check_weights and init_from.origins to judge.

    Raises:
      UserError: naming the keys that differ and both values; or config.json is damaged.
    """
    path, tree = workdir / "config.json", json.loads(config.to_json())
    if not path.exists():
        json_files.write(path, tree)
        return {}
    stored = with_added_keys(json_files.read(path, _REMEDY))
    wanted, found = _fixed(tree), _fixed(stored)
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
    if not path.exists() or is_begun(workdir):
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
    stored, now = json_files.read(path, _REMEDY), json.loads(config.to_json())
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


def check_data(domains, workdir, mode="train"):
    """Writes dataset.json into a new workdir; refuses an old one whose data were others.

    A dataset.json of a version that did not look at the sizes of files is compared as that version
    did, then written anew.

    Args:
      mode: "eval" writes nothing.

    Raises:
      UserError: naming the domain that changed and how; or dataset.json is damaged.
    """
    path, content = workdir / "dataset.json", _describe(domains, FINGERPRINT_VERSION)
    if path.exists():
        stored = json_files.read(
            path, _REMEDY, keys=[key for key in content if key != "fingerprint_version"]
        )
        version = stored.get("fingerprint_version", 1)
        if version not in (1, FINGERPRINT_VERSION):
            raise UserError(
                f"{path}: fingerprints of version {version}, which a newer dajax has written; use"
                " that one, or another --workdir"
            )
        _compare(
            stored,
            content if version == FINGERPRINT_VERSION else _describe(domains, version),
            workdir,
        )
        if version == FINGERPRINT_VERSION:
            return
    if mode == "train":
        json_files.write(path, content)


def _describe(domains, version):
    sets = {
        domain: {
            "name": images.name,
            "count": len(images),
            "fingerprint": images.fingerprint(version),
        }
        for domain, images in (
            ("source", domains.source),
            ("target", domains.target),
            ("evaluation", domains.evaluation),
        )
    }
    described = {
        "class_names": list(domains.class_names),
        "image_shape": list(domains.image_shape),
        **sets,
    }
    return described if version == 1 else {"fingerprint_version": version, **described}


def _compare(stored, content, workdir):
    for key, value in content.items():
        found = stored[key] if key in stored else None
        if found == value:
            continue
        what = f"{key} was {found}, is {value}"
        if isinstance(value, dict) and isinstance(found, dict):
            pairs = {
                name: (found.get(name), value[name])
                for name in value
                if found.get(name) != value[name]
            }
            what = f"the {key} set is another: " + ", ".join(
                f"{name} was {old}, is {new}" for name, (old, new) in pairs.items()
            )
            if set(pairs) == {"fingerprint"}:
                what = (
                    f"as many images of {value['name']} ({key}), but other files or labels: their"
                    " names, order, sizes or classes have changed"
                )
        raise UserError(
            f"{workdir} was begun with other data: {what}; restore the data, or use another"
            " --workdir"
        )


def check_weights(path, workdir, *, is_needed, is_begun, places):
    """Writes weights.json into a new workdir; refuses other weights in an old one that has yet to
    load them.

    Args:
      path: config.model.weights, "" for none.
      is_needed: whether a stage that loads them has not begun.
      is_begun: whether any stage has.
      places: of check_config.

    Raises:
      UserError: the file cannot be read or holds something else; or weights.json is damaged.
    """
    if not path or not is_needed:
        return
    record, now = workdir / "weights.json", _digest(path)
    if record.exists():
        stored = json_files.read(record, _REMEDY, keys=("file", "bytes", "sha256"))
        if (stored["bytes"], stored["sha256"]) != (now["bytes"], now["sha256"]):
            raise UserError(
                f"{workdir} was begun with the weights {stored['file']} ({stored['bytes']:,} bytes,"
                f" sha256 {stored['sha256'][:8]}); config.model.weights={path} holds others"
                f" ({now['bytes']:,} bytes, sha256 {now['sha256'][:8]}): give it the same file, or"
                " use another --workdir"
            )
    elif is_begun and "model.weights" in places:
        raise UserError(
            f"{workdir} was begun with config.model.weights={places['model.weights'][0]}, and no"
            " weights.json says what that held: give the file under that path, or use another"
            " --workdir"
        )
    json_files.write(record, now)


def _digest(path):
    """{"file", "bytes", "sha256"}; a second for a gigabyte or two."""
    digest, size = hashlib.sha256(), 0
    try:
        with open(os.path.expanduser(path), "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise UserError(
            f"config.model.weights={path}: cannot be read ({error.strerror}); correct the path"
        ) from error
    return {"file": str(path), "bytes": size, "sha256": digest.hexdigest()}
