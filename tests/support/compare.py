"""How near a result must be to what a golden file, or another computation, has."""

import jax
import jax.numpy as jnp
import numpy as np


def assert_close(actual, expected, tolerance, *, unit=None, floor=0.0, err_msg=""):
    """Asserts that every entry is within tolerance * unit of the expected one.

    Args:
      actual, expected: arrays of the same shape, or scalars.
      tolerance: relative to `unit`.
      unit: by default the largest entry of `expected`.
      floor: an absolute tolerance that is allowed in any case, for numbers that are zero but for
        rounding. Without it an `expected` of zeros is refused: it would compare nothing.
    """
    expected = np.asarray(expected)
    assert np.shape(actual) == expected.shape, f"{err_msg} {np.shape(actual)} {expected.shape}"
    unit = np.abs(expected).max() if unit is None else unit
    assert unit > 0 or floor > 0, f"{err_msg}: nothing to compare"
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=max(tolerance * unit, floor), err_msg=err_msg
    )


def assert_value(actual, expected, tolerance, err_msg=""):
    """Asserts that every number is within its own tolerance * expected of the expected one."""
    np.testing.assert_allclose(actual, expected, rtol=tolerance, err_msg=err_msg)


def assert_trees_close(actual, expected, tolerance, *, floor=0.0):
    """`assert_close` of every leaf; floor as there."""
    leaves = jax.tree_util.tree_leaves_with_path(actual)
    assert leaves, "nothing to compare"
    for (path, a), b in zip(leaves, jax.tree.leaves(expected), strict=True):
        assert_close(a, b, tolerance, floor=floor, err_msg=jax.tree_util.keystr(path))


def assert_trees_equal(actual, expected):
    """Asserts that both trees have the same structure and bits."""
    assert jax.tree.leaves(actual), "nothing to compare"
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def assert_value_and_gradients(function, inputs, value, gradients, tolerance, *, floor=0.0):
    """Asserts the value of a scalar function, compiled, and its gradients by all of its inputs.

    Args:
      inputs: arrays, taken in float32. gradients: array for each.
      tolerance, floor: as `assert_close` has them; the floor holds for the value too.
    """
    inputs = [jnp.asarray(x, jnp.float32) for x in inputs]
    numbers = tuple(range(len(inputs)))
    found, grads = jax.jit(jax.value_and_grad(function, argnums=numbers))(*inputs)
    np.testing.assert_allclose(found, value, rtol=tolerance, atol=floor)
    for number, (grad, expected) in enumerate(zip(grads, gradients, strict=True)):
        assert_close(grad, expected, tolerance, floor=floor, err_msg=f"gradient {number}")
