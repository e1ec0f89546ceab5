"""The recipes as a user calls them."""

import functools
import importlib

import tiny

NAMES = sorted(path.stem for path in (tiny.ROOT / "configs").glob("*.py"))


def module(name):
    """The module of a recipe."""
    return importlib.import_module(f"dajax.recipes.{name}")


def get_config(name, argument=None):
    """What `--config=NAME:ARGUMENT` runs."""
    return module(name).get_config(argument)


@functools.cache
def task(name):
    """ "classification" or "segmentation"."""
    return get_config(name).task


def of_task(wanted):
    """Names of a task's recipes."""
    return [name for name in NAMES if task(name) == wanted]


def values(config, prefix=""):
    """{"stage.key.subkey": value} of a ConfigDict."""
    found = {}
    for key, value in config.items():
        is_tree = hasattr(value, "items")
        found |= values(value, f"{prefix}{key}.") if is_tree else {f"{prefix}{key}": value}
    return found


def differing(config, rows):
    """Where a config differs from what its authors published, one line each.

    Args:
      config: of a recipe.
      rows: (key, value, where the authors say so), the key as in `--config.key`.
    """
    lines = []
    for key, value, origin in rows:
        found = functools.reduce(lambda tree, part: tree[part], key.split("."), config)
        found = found.to_dict() if hasattr(found, "to_dict") else found
        if found != value or type(found) is not type(value):
            lines.append(f"{key}={found!r}, published: {value!r} ({origin})")
    return lines
