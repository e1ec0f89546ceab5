"""Large arrays on the host that JAX on a CPU can use in place."""

import numpy as np

# bytes; on a CPU jax.device_put uses a numpy array in place if it is aligned so, and copies it
# otherwise; jnp.asarray copies always
_ALIGNMENT = 64


def aligned_empty(shape):
    """Uninitialised float32 numpy array of a shape; do not write to it once it has been given to
    JAX.
    """
    size = int(np.prod(shape)) * 4
    buffer = np.empty(size + _ALIGNMENT, np.uint8)
    offset = -buffer.ctypes.data % _ALIGNMENT
    return buffer[offset : offset + size].view(np.float32).reshape(shape)
