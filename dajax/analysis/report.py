"""results.json and the table that a run ends with."""

import math
import platform
import re
from importlib import metadata

import jax

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "ml-collections",
    "tensorflow-cpu",
)


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
    found = len({device.process_index for device in devices})
    shared = f" of {found} processes" if found > 1 else ""
    return f"{len(devices)} x {devices[0].device_kind} ({jax.default_backend()}){shared}"


def describe_parameters(params, frozen):
    """E.g. "174,858 parameters in 42 arrays, 4,320 of them frozen".

    Args:
      params: tree of arrays or shapes.
      frozen: regular expressions on paths, as optim.make_optimizer takes them.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    sizes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): math.prod(leaf.shape)
        for path, leaf in leaves
    }
    still = sum(
        size for name, size in sizes.items() if any(re.search(pattern, name) for pattern in frozen)
    )
    return f"{sum(sizes.values()):,} parameters in {len(sizes)} arrays, {still:,} of them frozen"


def classification_table(stages):
    """The stages side by side: per class, overall and mean-class accuracy in per cent at the LAST
    step of each.

    Args:
      stages: {stage name: result with "step", "accuracy", "mean_class_accuracy", "per_class" and,
        where they were measured, the figures of VARIANTS}.

    Returns:
      str, lines of equal width; figures use the statistics as trained but for the rows that say
        otherwise.
    """
    return _table(stages, *classification_figures(stages))


def classification_figures(stages):
    """The same as numbers: ([[class, figure of each stage]], [[title, figure of each stage]]); None
    where a figure was not measured.
    """
    keys = {"mean-class accuracy": "mean_class_accuracy", "accuracy": "accuracy"}
    return _classes(stages, "per_class"), _summary(stages, keys)


# Further measurements of a network, and how the table calls them.
VARIANTS = {
    "aggregated": "aggregated",
    "reestimated": "target BN",
    "reestimated_aggregated": "both",
}


def segmentation_table(stages, subsets):
    """The stages side by side: IoU per class, mIoU over all classes and over subsets, in per cent
    at the LAST step of each.

    Args:
      stages: {stage name: result with "step", "miou", "iou", "miou_<subset>" and, with the same
        figures, those of VARIANTS that were measured}.
      subsets: names of class subsets.

    Returns:
      str, lines of equal width; figures use the statistics as trained but for the rows that say
        otherwise.
    """
    return _table(stages, *segmentation_figures(stages, subsets))


def segmentation_figures(stages, subsets):
    """The same as numbers, see classification_figures."""
    keys = {"mIoU": "miou", **{f"mIoU {name}": f"miou_{name}" for name in subsets}}
    return _classes(stages, "iou"), _summary(stages, keys)


def _classes(stages, key):
    """A row for each class."""
    names = list(next(iter(stages.values()))[key])
    return [[name, *(result[key][name] for result in stages.values())] for name in names]


def _summary(stages, keys):
    """A row for each figure, then one for each figure of VARIANTS that some stage has.

    Args:
      keys: {title: key of a figure}.
    """
    rows = [[title, *(result[key] for result in stages.values())] for title, key in keys.items()]
    for variant, remark in VARIANTS.items():
        if any(variant in result for result in stages.values()):
            again = [result.get(variant, {}) for result in stages.values()]
            rows += [
                [f"{title}, {remark}", *(figures.get(key) for figures in again)]
                for title, key in keys.items()
            ]
    return rows


def _table(stages, classes, summary):
    """Classes, a rule, `summary` rows and the step."""
    rows, written = [["class", *stages], *_written(classes)], _written(summary)
    bottom = [*written, ["after step", *(str(result["step"]) for result in stages.values())]]
    widths = [max(len(row[i]) for row in rows + bottom) for i in range(len(rows[0]))]

    def line(row):
        return "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:]), rule, *map(line, bottom)])


def _written(rows):
    return [[title, *map(_cell, values)] for title, *values in rows]


def _cell(value):
    return "-" if value is None else f"{value:.1f}"
