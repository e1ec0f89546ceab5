"""What an exported file says of itself: classes, what it takes, what it gives, who wrote it."""

import importlib.metadata

from dajax import __version__
from dajax.ops.sliding_window import from_config

# Of the object below; a reader refuses another one.
VERSION = 1


def describe(trained, program):
    """The contract, an object for JSON.

    Args:
      trained: dajax.trained.Trained.
      program: program.Program of it.

    Returns:
      dict: "contract", VERSION; "dajax", "jax", versions; "recipe", "stage", "step", "task",
        "class_names"; "input", the array of pictures, None for a dimension of any size;
        "preprocessing", what happens to it inside; "outputs", {name: what it is}.
    """
    is_segmenter = trained.config.task == "segmentation"
    return {
        "contract": VERSION,
        "dajax": __version__,
        "jax": importlib.metadata.version("jax"),
        "recipe": trained.config.name,
        "stage": trained.stage,
        "step": trained.step,
        "task": trained.config.task,
        "class_names": list(trained.class_names),
        "input": {
            "name": "images",
            "dtype": "uint8",
            "layout": "NHWC",
            "channels": "RGB" if program.channels == 3 else "grey",
            "shape": [None, program.height, program.width, program.channels],
            "least_hw": list(program.least_hw),
        },
        "preprocessing": _preprocessing(trained, is_segmenter),
        "outputs": _SEGMENTER_OUTPUTS if is_segmenter else _CLASSIFIER_OUTPUTS,
    }


def _preprocessing(trained, is_segmenter):
    transform = trained.transform
    if is_segmenter:
        window = from_config(trained.config.evaluation, transform.size_hw)
        return {
            "resize_hw": list(transform.size_hw),
            "resample": transform.resize,
            "crop_hw": None,
            "channels": transform.channels,
            "divisor": transform.divisor,
            "mean": list(transform.mean),
            "std": list(transform.std),
            "align_corners": trained.config.evaluation.align_corners,
            "window": None if window is None else window._asdict(),
        }
    return {
        "resize_hw": transform.resize_hw and list(transform.resize_hw),
        "resample": "bicubic",
        "crop_hw": None if transform.crop is None else list(transform.size_hw),
        "channels": "as given",
        "divisor": 255.0,
        "mean": list(transform.mean),
        "std": list(transform.std),
    }


_CLASSIFIER_OUTPUTS = {
    "classes": "int32 [N], positions in class_names",
    "probabilities": "float32 [N, K]",
    "logits": "float32 [N, K]",
}
_SEGMENTER_OUTPUTS = {
    "classes": "uint8 [N, H, W], positions in class_names, at the picture's size",
    "probabilities": "float32 [N, H, W, K], at the picture's size",
    "logits": "float32 [N, h, w, K], at the network's stride; through windows at resize_hw",
}
