"""config.json of earlier versions: the keys that they did not have yet."""

import functools
import json

# {method of a stage, "" for all of segmentation: {key: value that does what the version before did}}
_ADDED = {
    "": {"norm_affine": ""},
    "adaptsegnet": {"class_balanced": False},
    "bicl": {"dynamic.share": 0.0},
    "clan": {"loss.on": "heads"},
    "source_only_seg": {"transform": ""},
}


def with_added_keys(tree):
    """The tree of a config.json, with the keys that its version did not have yet."""
    if tree.get("task") != "segmentation":
        return tree
    tree = dict(tree)
    for name, stage in tree.items():
        if isinstance(stage, dict) and "method" in stage:
            stage = json.loads(json.dumps(stage))
            for key, value in (_ADDED[""] | _ADDED.get(stage["method"], {})).items():
                *groups, last = key.split(".")
                functools.reduce(dict.__getitem__, groups, stage).setdefault(last, value)
            tree[name] = stage
    return tree
