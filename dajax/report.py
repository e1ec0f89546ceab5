"""results.json and the table that a run ends with."""

import math
import platform
import re
from importlib import metadata

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml-collections", "tensorflow-cpu")


def versions():
    """{package: version} of what the numbers depend on; packages that are absent are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_devices(devices):
    """E.g. "4 x cpu (cpu)"."""
    return f"{len(devices)} x {devices[0].device_kind} ({jax.default_backend()})"


def describe_parameters(params, frozen):
    """E.g. "174,858 parameters in 42 arrays, 4,320 of them frozen".

    Args:
      params: tree of arrays or shapes.
      frozen: regular expressions on paths, as optim.make_optimizer takes them.
    """
    sizes = {jax.tree_util.keystr(path, simple=True, separator="/"): math.prod(leaf.shape) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    still = sum(size for name, size in sizes.items() if any(re.search(pattern, name) for pattern in frozen))
    return f"{sum(sizes.values()):,} parameters in {len(sizes)} arrays, {still:,} of them frozen"


def classification_table(stages):
    """The stages side by side: per class, overall and mean-class accuracy in per cent at the LAST step of each.

    Args:
      stages: {stage name: result with "step", "accuracy", "mean_class_accuracy", "per_class"}.

    Returns:
      str, lines of equal width.
    """
    classes = list(next(iter(stages.values()))["per_class"])
    rows = [["class", *stages]]
    rows += [[name, *(_cell(result["per_class"][name]) for result in stages.values())] for name in classes]
    rows.append(["mean-class accuracy", *(_cell(result["mean_class_accuracy"]) for result in stages.values())])
    rows.append(["accuracy", *(_cell(result["accuracy"]) for result in stages.values())])
    rows.append(["after step", *(str(result["step"]) for result in stages.values())])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]) for row in rows]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-3], rule, *lines[-3:]])


def _cell(value):
    return "-" if value is None else f"{value:.1f}"
