"""config.json of earlier versions: the keys that they did not have yet."""

import copy
import json

# Key by key, the value that does what the version before did.
_ADDED_TO_EVERY_STAGE = {"teacher": {"momentum": 0.0}, "predict_with": "student"}
_ADDED_TO_MODEL = {
    "classification": {"bottleneck_norm": True, "dropout": 0.0, "head_init": "kaiming"},
    "segmentation": {},
}
_ADDED_TO_SETS = {
    "classification": {},
    "segmentation": {"image_name": "NAME", "label_name": "NAME"},
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
    tree = json.loads(json.dumps(tree))
    task = tree.get("task")
    known = task if isinstance(task, str) and task in _ADDED_TO_MODEL else None
    if known:
        _add(tree.get("model"), _ADDED_TO_MODEL[known])
        data = tree.get("data")
        for role in ("source", "target", "evaluation"):
            _add(data.get(role) if isinstance(data, dict) else None, _ADDED_TO_SETS[known])
    for stage in tree.values():
        if isinstance(stage, dict) and isinstance(stage.get("method"), str):
            _add(stage, _ADDED_TO_EVERY_STAGE)
            if known:
                _add(stage, _ADDED_TO_STAGES[known] | _ADDED_BY_METHOD.get(stage["method"], {}))
    return tree


def _add(tree, added):
    for key, value in added.items():
        *groups, last = key.split(".")
        group = tree
        for name in groups:
            group = group.get(name) if isinstance(group, dict) else None
        if isinstance(group, dict):
            group.setdefault(last, copy.deepcopy(value))
