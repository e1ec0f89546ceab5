"""The groups of cases, in the order of the table. A group is a module with

TITLE       one line for --list
MINUTES     of the whole group on two idle cores
NEEDS       packages without which none of it runs, besides jax and dajax
cases(folder, is_quick) -> list of Case    `folder` is empty, and removed afterwards
"""

import importlib
import importlib.util

DEFAULT = (
    "methods",
    "networks",
    "mic",
    "association",
    "lovasz",
    "kernels",
    "clustering",
    "frames",
    "photos",
    "streaming",
    "checkpoints",
    "startup",
    "label_sizes",
    "scaling",
)
BY_NAME_ONLY = (
    "remat",  # nothing to compare dajax with
    "domainnet",  # 8 GB of memory
    "gpu",
    "gpu_plca",
    "gpu_daformer",
)
_MODULES = {
    "methods": "method_steps",
    "mic": "mic_step",
    "lovasz": "lovasz_softmax",
    "kernels": "kernel_losses",
    "frames": "frame_input",
    "photos": "photo_input",
}


def module(name):
    """The module of a group."""
    return importlib.import_module(f"benchmarks.{_MODULES.get(name, name)}")


def chosen(only):
    """Names of the groups that `--only` asks for, in the table's order; without it the default
    ones.

    Raises:
      ValueError: an unknown name.
    """
    if only is None:
        return DEFAULT
    asked, known = only.split(","), (*DEFAULT, *BY_NAME_ONLY)
    if unknown := [name for name in asked if name not in known]:
        raise ValueError(f"--only={only}: unknown group '{unknown[0]}'; known: {', '.join(known)}")
    return tuple(name for name in known if name in asked)


def lacking(name):
    """The packages that a group needs and this machine lacks."""
    return [need for need in module(name).NEEDS if importlib.util.find_spec(need) is None]
