"""The weights of the golden networks, which are generated and not stored, and how their outputs are
compared (tests/golden/README.md).
"""

import json
import re
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import GOLDEN, between, names_in

from dajax.models.norm import Mode


def sizes_in(file):
    """ "s<H>x<W>" of a golden network's images, by their number of pixels."""
    sizes = between(names_in(file), suffix="_image")
    return sorted(sizes, key=lambda size: np.prod([int(side) for side in size[1:].split("x")]))


def slow_but(quick, cases):
    """`cases` for parametrize, of which all but those in `quick` are slow."""
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]


def recipe(name, shape, salt):
    """One entry; "Weights are generated, not stored" in tests/golden/README.md."""
    normal = (
        np.random.default_rng(zlib.crc32((salt + name).encode("utf-8")))
        .standard_normal(shape)
        .astype(np.float32)
        .astype(np.float64)
    )
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_mean") or name.endswith(".bias"):
        return (0.1 * normal).astype(np.float32)
    if name.endswith("running_var"):
        return np.exp(0.1 * normal).astype(np.float32)
    if len(shape) >= 2:
        return (np.sqrt(2 / np.prod(shape[1:])) * normal).astype(np.float32)
    return ((0.25 if name.endswith("bn3.weight") else 1.0) * (1 + 0.1 * normal)).astype(np.float32)


def recipe_state_dict(network, salt, *, one_block=False, names="deeplab_names"):
    """{torch name: array} of a network of a file of names; `one_block`: with the first block of
    every stage only.
    """
    shapes = json.loads((GOLDEN / f"{names}.json").read_text())[network]
    later_block = re.compile(r"layer[1-4]\.[1-9]")
    return {
        name: recipe(name, shape, salt)
        for name, shape in shapes.items()
        if not (one_block and later_block.match(name))
    }


def discriminator_params(salt):
    """Parameters of Discriminator(64) on 19 classes."""
    params = {}
    for name, array in recipe_state_dict("discriminator", salt).items():
        layer, leaf = name.split(".")
        entry = (
            {"kernel": jnp.asarray(array.transpose(2, 3, 1, 0))}
            if leaf == "weight"
            else {"bias": jnp.asarray(array)}
        )
        params.setdefault(layer, {}).update(entry)
    return params


def shapes_of(model, image_shape):
    """(params, batch_stats) of zeros: nothing is compiled."""
    variables = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros(image_shape), Mode())
    )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    return zeros["params"], zeros.get("batch_stats", {})


def relative_error(actual, expected):
    """max |a - b| / max |b|."""
    assert actual.shape == expected.shape
    return np.abs(np.asarray(actual, np.float64) - expected).max() / np.abs(expected).max()


def tap_errors(arrays, size, taps):
    """{(size, layer, kind): relative error} of intermediate results [N, h, w, C] against the stored
    statistics and corners.
    """
    errors = {}
    for key, x in taps.items():
        x = np.asarray(x, np.float64).transpose(0, 3, 1, 2)
        assert x.shape == tuple(arrays[f"{size}_tapshape_{key}"]), (size, key)
        statistics = np.array(
            [x.mean(), x.std(), np.abs(x).max(), x.min(), x.max(), np.sqrt(np.square(x).sum())]
        )
        errors[size, key, "stats"] = relative_error(statistics, arrays[f"{size}_tapstats_{key}"])
        errors[size, key, "corner"] = relative_error(
            x[0, :4, :3, :3], arrays[f"{size}_tapcorner_{key}"]
        )
        errors[size, key, "tail"] = relative_error(
            x[0, -4:, -3:, -3:], arrays[f"{size}_taptail_{key}"]
        )
    return errors
