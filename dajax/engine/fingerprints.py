"""Whether a workdir belongs to the data and the weights that a run was started with, wherever they
lie: the fingerprints in its dataset.json and weights.json.
"""

import hashlib
import os

from dajax.engine import json_files
from dajax.engine.config_check import REMEDY
from dajax.errors import UserError

# Of those in dataset.json. 1: names and labels (workdirs without a number); 2: sizes of files, too.
FINGERPRINT_VERSION = 2
_CHUNK_BYTES = 2**20


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
            path, REMEDY, keys=[key for key in content if key != "fingerprint_version"]
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
      places: of config_check.check_config.

    Raises:
      UserError: the file cannot be read or holds something else; or weights.json is damaged.
    """
    if not path or not is_needed:
        return
    record, now = workdir / "weights.json", _digest(path)
    if record.exists():
        stored = json_files.read(record, REMEDY, keys=("file", "bytes", "sha256"))
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
