"""config.json of earlier versions: the keys that they did not have yet."""

import copy
import json

# Key by key, the value that does what the version before did.
_ADDED_TO_EVERY_STAGE = {"teacher": {"momentum": 0.0}, "predict_with": "student"}
_ADDED_TO_MODEL = {
    "classification": {
        "bottleneck_norm": True,
        "bottleneck_relu": True,
        "head_layers": "norm",
        "dropout": 0.0,
        "head_init": "kaiming",
        "head_weight_norm": False,
        "remat": "none",
    },
    "segmentation": {"remat": "none"},
}
# Of runtime: what is shown beside training, and by how many processes it is done.
_ADDED_TO_EVERY_RUN = {
    "runtime.wandb": "",
    "runtime.profile": "",
    "runtime.coordinator": "",
    "runtime.num_processes": 0,
    "runtime.process_id": 0,
    "runtime.cache_gb": 0.0,
    "runtime.cache_dir": "~/.cache/dajax/images",
}
# What is measured beside training; an old run trains as before.
_ADDED_TO_RUN = {
    "classification": {
        "evaluation": {"reestimate_batches": 50, "reestimate_batch_size": 32},
        "evaluation.source_held_out": 0.0,
    },
    "segmentation": {
        "evaluation.agreement_batches": 16,
        "evaluation.source_held_out": 0.0,
        "evaluation.window": {"crop": [], "stride": [], "average": "logits"},
    },
}
# Of each of segmentation's transforms: frames whose aspect was not kept, any crop.
_ADDED_TO_TRANSFORMS = {"fit": [], "max_class_share": 1.0}
# Of one image: views that were never drawn.
_ADDED_TO_VIEWS = {
    "affine": {"rotate_rad": 0.0, "shear": 0.0, "scale": 0.0, "shift_px": 0.0},
    "appearance": {
        "color_jitter": {
            "brightness": 0.4,
            "contrast": 0.4,
            "saturation": 0.4,
            "hue": 0.1,
            "probability": 0.0,
        },
        "blur": {"sigma": [0.1, 2.0], "probability": 0.0},
    },
    "invert": 0.0,
    "erase": {"probability": 0.0, "area": [0.02, 0.33], "ratio": [0.3, 3.3]},
}
_ADDED_TO_FOLDERS = {"evaluation": "", "held_out": 0.0, "held_out_seed": 0, "draft": False}
_ADDED_TO_SETS = {
    "classification": {},
    "segmentation": {"image_name": "NAME", "label_name": "NAME"},
}
_ADDED_TO_STAGES = {"classification": {}, "segmentation": {"norm_affine": ""}}
_ADDED_TO_CLUSTERING = {
    "clustering.drop_contradicted": False,
    "clustering.min_agreement": 0.0,
    "class_aware.max_share": 1.0,
}
_ADDED_BY_METHOD = {
    "adaptsegnet": {"class_balanced": False, "adversarial.input": "softmax"},
    "bicl": {"dynamic.share": 0.0, "when_worse": "warn"},
    "can": _ADDED_TO_CLUSTERING,
    "cdan": {"randomized_dim": 0},
    "clan": {"loss.on": "heads"},
    # VFM-UDA's switches, off; a jitter of probability 0 is none
    "cross_domain_mixing": {
        "mirrored_labels": False,
        "strong_for": "batch",
        "weak_view": {
            "brightness": 32 / 255,
            "contrast": 0.5,
            "saturation": 0.5,
            "hue": 18 / 360,
            "probability": 0.0,
        },
    },
    "mscan": _ADDED_TO_CLUSTERING,
    "source_only": {"label_smoothing": 0.0},
    "self_training": {
        "source_weight": 0.0,
        "source_share": 0.0,
        "rare_crops": {"share": 0.001, "probability": 0.0},
        "kld_weight": 0.0,
        "when_worse": "warn",
    },
    "source_only_seg": {
        "transform": "",
        "lovasz_weight": 0.0,
        "accumulate": 1,
        "half_pixel": False,
    },
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
    _add(tree, _ADDED_TO_EVERY_RUN)
    task = tree.get("task")
    known = task if isinstance(task, str) and task in _ADDED_TO_MODEL else None
    if known:
        _add(tree.get("model"), _ADDED_TO_MODEL[known])
        _add(tree, _ADDED_TO_RUN[known])
    data = tree.get("data")
    if isinstance(data, dict):
        _add_views(data.get("transform"))
        transforms = data.get("transforms")
        for transform in transforms.values() if isinstance(transforms, dict) else ():
            _add(transform, _ADDED_TO_TRANSFORMS)
        if data.get("dataset") == "folder":
            _add(data, _ADDED_TO_FOLDERS)
        if isinstance(data.get("source"), dict) and data["source"].get("dataset") == "own":
            _add(data, {"draft": False})
        for role in ("source", "target", "evaluation") if known else ():
            _add(data.get(role), _ADDED_TO_SETS[known])
    for stage in tree.values():
        if isinstance(stage, dict) and isinstance(stage.get("method"), str):
            _add(stage, _ADDED_TO_EVERY_STAGE)
            if known:
                _add(stage, _ADDED_TO_STAGES[known] | _ADDED_BY_METHOD.get(stage["method"], {}))
                if "easy_share" in stage:  # of adaptsegnet
                    _add(stage, {"favoured": []})
                if str(stage.get("weighting")).startswith("bsa"):  # of mscan
                    _add(stage, {"bsa_floor": 1e-6})
    return tree


def _add(tree, added):
    for key, value in added.items():
        *groups, last = key.split(".")
        group = tree
        for name in groups:
            group = group.get(name) if isinstance(group, dict) else None
        if isinstance(group, dict):
            group.setdefault(last, copy.deepcopy(value))


def _add_views(transform):
    """Of classification's transform, whose `affine` was None where nothing was drawn."""
    if isinstance(transform, dict):
        if transform.get("affine", {}) is None:
            del transform["affine"]
        _add(transform, _ADDED_TO_VIEWS)
