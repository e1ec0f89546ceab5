"""What train steps share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dajax.methods import _step


@pytest.mark.parametrize("value", [0.0, -3.0, np.inf, -np.inf, np.nan])
def test_a_pass_that_waits_sees_the_same_images_whatever_the_gradients(value):
    tree = {"a": jnp.full((2, 3), value), "b": [jnp.ones(4, jnp.bfloat16)]}
    part = {"image": jnp.arange(6.0).reshape(1, 1, 2, 3) - 3.0, "mask": jnp.ones(1, bool)}
    found = jax.jit(_step.not_before)(tree, part)
    assert found.keys() == part.keys() and found["image"].dtype == part["image"].dtype
    np.testing.assert_array_equal(found["image"], part["image"])
    text = jax.jit(_step.not_before).lower(tree, part).compile().as_text()
    assert "compare" in text, "the compiler has seen through it, and passes may overlap again"
