"""Whether a workdir belongs to the config and the data that a run was started with."""

import json

from dajax.errors import UserError
from dajax.log import write_json
from dajax.old_config import with_added_keys

# Everything under this key may differ between two calls on one workdir: it changes what is printed and kept, not what is computed.
FREE_KEY = "runtime"


def flatten(tree, prefix=""):
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _fixed(config):
    tree = json.loads(config.to_json())
    tree.pop(FREE_KEY)
    return tree


def check_config(config, workdir):
    """Writes config.json into a new workdir; refuses another config in an old one.

    Raises:
      UserError: naming the keys that differ and both values.
    """
    path, wanted = workdir / "config.json", flatten(_fixed(config))
    if not path.exists():
        write_json(path, json.loads(config.to_json()))
        return
    stored = with_added_keys(json.loads(path.read_text()))
    stored.pop(FREE_KEY, None)
    found = flatten(stored)
    differing = [key for key in sorted(wanted.keys() | found.keys()) if wanted.get(key, "absent") != found.get(key, "absent")]
    if differing:
        shown = ", ".join(f"{key}={found.get(key, 'absent')} there, {wanted.get(key, 'absent')} now" for key in differing[:6])
        more = f" and {len(differing) - 6} more" if len(differing) > 6 else ""
        raise UserError(f"{workdir} was begun with another config: {shown}{more}; use the same config, or another --workdir")


def check_data(domains, workdir):
    """Writes dataset.json into a new workdir; refuses an old one whose data were others.

    Raises:
      UserError: naming the domain that changed.
    """
    path = workdir / "dataset.json"
    sets = {
        domain: {"name": images.name, "count": len(images), "fingerprint": images.fingerprint()}
        for domain, images in (("source", domains.source), ("target", domains.target), ("evaluation", domains.evaluation))
    }
    content = {"class_names": list(domains.class_names), "image_shape": list(domains.image_shape), **sets}
    if not path.exists():
        write_json(path, content)
        return
    stored = json.loads(path.read_text())
    for key, value in content.items():
        if stored[key] != value:
            raise UserError(f"{workdir} was begun with other data: {key} was {stored[key]}, is {value}; restore the data, or use another --workdir")
