"""config.json of earlier versions: the keys that they did not have yet."""

import json

# Key by key, the value that does what the version before did.
_ADDED_TO_MODEL = {
    "classification": {"bottleneck_norm": True, "dropout": 0.0, "head_init": "kaiming"},
    "segmentation": {},
}
_ADDED_TO_STAGES = {"classification": {}, "segmentation": {"norm_affine": ""}}
_ADDED_BY_METHOD = {
    "adaptsegnet": {"class_balanced": False},
    "bicl": {"dynamic.share": 0.0},
    "cdan": {"randomized_dim": 0},
    "clan": {"loss.on": "heads"},
    "self_training": {"source_weight": 0.0},
    "source_only_seg": {"transform": ""},
}


def with_added_keys(tree):
    """Fills in the keys that the version of a config.json did not have yet.

    Args:
      tree: nested dicts, as json reads them; not changed. A file that an editor has damaged may
        hold anything below the keys: what is no dict stays as it is, for the comparison to name.

    Returns:
      A tree that this version reads, which computes what the version before computed. Keys that
      are there keep their values.
    """
    task = tree.get("task")
    if not isinstance(task, str) or task not in _ADDED_TO_MODEL:
        return tree
    tree = json.loads(json.dumps(tree))
    _add(tree.get("model"), _ADDED_TO_MODEL[task])
    for stage in tree.values():
        if isinstance(stage, dict) and isinstance(stage.get("method"), str):
            _add(stage, _ADDED_TO_STAGES[task] | _ADDED_BY_METHOD.get(stage["method"], {}))
    return tree


def _add(tree, added):
    for key, value in added.items():
        *groups, last = key.split(".")
        group = tree
        for name in groups:
            group = group.get(name) if isinstance(group, dict) else None
        if isinstance(group, dict):
            group.setdefault(last, value)
