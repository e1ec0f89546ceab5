"""Arrays of golden files, which have torch's layout, in the layout of this repository."""

import jax.numpy as jnp
import numpy as np


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
