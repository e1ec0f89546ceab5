"""Large arrays on the host that JAX on a CPU can use in place."""

from collections.abc import Sequence

import numpy as np

from dajax.typing import Float32

# Bytes. On a CPU jax.device_put uses a numpy array in place if it is aligned so, and copies it
# otherwise; jnp.asarray always copies.
_ALIGNMENT = 64


def aligned_empty(shape: Sequence[int]) -> Float32[np.ndarray, "..."]:
    """Uninitialised float32 numpy array of a shape. Do not write to it after giving it to JAX."""
    size = int(np.prod(shape)) * 4
    buffer = np.empty(size + _ALIGNMENT, np.uint8)
    offset = -buffer.ctypes.data % _ALIGNMENT
    return buffer[offset : offset + size].view(np.float32).reshape(shape)
