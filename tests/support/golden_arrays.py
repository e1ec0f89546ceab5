"""Arrays of golden files, which have torch's layout, in the layout of this repository; and the
names of what a file holds.
"""

import pathlib

import jax.numpy as jnp
import numpy as np

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"


def names_in(file):
    """Of all arrays of tests/golden/<file>.npz, for `parametrize`, which comes before fixtures. Of
    the file only its list of contents is read.
    """
    with np.load(GOLDEN / f"{file}.npz") as arrays:
        return arrays.files


def between(names, prefix="", suffix=""):
    """What stands between the two in the names that have both, sorted; never nothing. So a file
    itself says which cases and which settings it has.
    """
    found = [
        name[len(prefix) : len(name) - len(suffix)]
        for name in names
        if name.startswith(prefix) and name.endswith(suffix)
    ]
    assert found, f"{prefix}...{suffix}"
    return sorted(found)


def channels_last(x, dtype=jnp.float32):
    """[..., C, h, w] -> [..., h, w, C], on the device."""
    return jnp.asarray(np.moveaxis(np.asarray(x), -3, -1), dtype)


def channels_first(x):
    """[..., h, w, C] -> [..., C, h, w], on the host."""
    return np.moveaxis(np.asarray(x), -1, -3)


def ints(x):
    """int32, on the device."""
    return jnp.asarray(x, jnp.int32)


def everywhere(labels):
    """A mask that is True everywhere, bool, shaped like `labels`."""
    return jnp.ones(labels.shape, bool)
