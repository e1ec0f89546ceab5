"""torch's bicubic resize, against tables that torch has resized (tests/golden/README.md, ViT)."""

import jax.numpy as jnp
import numpy as np
import pytest
from recipe_weights import relative_error

from dajax.ops.resize_cubic import resize_bicubic

SIZES = ((6, 8), (3, 2), (5, 9), (1, 5))


@pytest.mark.parametrize("hw", SIZES)
@pytest.mark.parametrize("registers", [0, 4])
def test_it_is_torchs_with_and_without_antialiasing(golden, hw, registers):
    """The two ways of DINOv2: a scale with an offset of 0.1, and antialiasing by size."""
    case = golden("vit")["table"]
    table = jnp.asarray(case["table"][0, 1:].reshape(5, 5, -1), jnp.float32)
    settings = dict(antialias=True) if registers else dict(offset=0.1)
    expected = np.moveaxis(case[f"resized_{hw[0]}x{hw[1]}_{registers}"], 0, -1)
    assert relative_error(resize_bicubic(table, hw, **settings), expected) < 1e-6


def test_the_same_size_is_the_same_table():
    table = jnp.asarray(np.random.default_rng(0).standard_normal((4, 5, 2)), jnp.float32)
    for antialias in (False, True):
        np.testing.assert_allclose(
            resize_bicubic(table, (4, 5), antialias=antialias), table, atol=1e-6
        )


def test_a_constant_stays_constant_up_to_the_edge():
    table = jnp.full((3, 4, 1), 2.5)
    for antialias in (False, True):
        resized = resize_bicubic(table, (7, 2), offset=0.1 * (not antialias), antialias=antialias)
        np.testing.assert_allclose(resized, np.full((7, 2, 1), 2.5), rtol=1e-6)
