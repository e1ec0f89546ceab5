"""Array types that tell dtype and shape: `Float[Array, "N H W K"]` is a JAX array of floats with
four axes.

The letters are those of the docstrings; an axis that two arguments share has one size in a call.
" N" begins with a space where it stands alone, since a linter takes a single name in quotes for the
name of a type.

Nothing is checked at run time, except in the tests: tests/conftest.py installs jaxtyping's import
hook for losses, ops and parallel. A machine without jaxtyping has stand-ins here, so that an
annotation is harmless wherever the package runs.
"""

from typing import Any

import jax
import numpy as np

Array = jax.Array  # tracers under jit, grad, vmap and pmap are instances, too
AnyArray = jax.Array | np.ndarray  # for functions that are called inside and outside of a step

try:
    from jaxtyping import Bool, Float, Float32, Int, Integer, PyTree, Shaped, UInt8
except ModuleNotFoundError:

    class _Unchecked:
        """`Float[Array, "N K"]` is Any, and so is a bare `PyTree`."""

        def __class_getitem__(cls, _):
            return Any

    Bool = Float = Float32 = Int = Integer = PyTree = Shaped = UInt8 = _Unchecked

__all__ = [
    "AnyArray",
    "Array",
    "Bool",
    "Float",
    "Float32",
    "Int",
    "Integer",
    "PyTree",
    "Shaped",
    "UInt8",
]
