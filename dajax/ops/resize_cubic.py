"""Bicubic resize of a table of position embeddings, as torch's F.interpolate computes it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dajax.typing import Array, Float


def _keys_kernel(x, a):
    """The cubic convolution kernel of Keys (1981) at the distances x, for the parameter a."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


@functools.lru_cache(maxsize=64)
def _weights(size, new_size, offset, antialias):
    """float32 [new_size, size]: row i holds the weights of the old cells in the new cell i."""
    scale = size / (new_size + offset)  # old cells in a new one
    centres = scale * (np.arange(new_size) + 0.5)
    weights = np.zeros((new_size, size))
    if antialias:
        # torch's _upsample_bicubic2d_aa: PIL's a = -0.5, the kernel as wide as a new cell, and the
        # weights within the table sum to 1
        width = max(scale, 1.0)
        for i, centre in enumerate(centres):
            low, high = (int(centre + side * 2 * width + 0.5) for side in (-1, 1))
            cells = np.arange(max(low, 0), min(high, size))
            row = _keys_kernel((cells + 0.5 - centre) / width, -0.5)
            weights[i, cells] = row / row.sum()
        return weights.astype(np.float32)
    # a = -0.75, four cells whatever the scale; those beyond the edge are the edge's
    for i, position in enumerate(centres - 0.5):
        for cell in np.floor(position) + np.arange(-1, 3):
            weights[i, int(np.clip(cell, 0, size - 1))] += _keys_kernel(position - cell, -0.75)
    return weights.astype(np.float32)


def resize_bicubic(
    x: Float[Array, "h w C"], hw: tuple[int, int], *, offset: float = 0.0, antialias: bool = False
) -> Float[Array, "H W C"]:
    """Bicubic as torch's F.interpolate(align_corners=False), as a matrix product per axis.

    Args:
      x: float [h, w, C].
      hw: (H, W), static.
      offset: added to the new size where the scale is computed, and there alone: torch's
        scale_factor = (H + offset) / h. DINOv2's code has 0.1 against a size that rounds down.
      antialias: torch's argument of that name.

    Returns:
      float32 [H, W, C].
    """
    exact = dict(precision=jax.lax.Precision.HIGHEST)
    rows, columns = (
        _weights(old, new, offset, antialias) for old, new in zip(x.shape[:2], hw, strict=True)
    )
    y = jnp.einsum("Ww,hwc->hWc", columns, x.astype(jnp.float32), **exact)
    return jnp.einsum("Hh,hWc->HWc", rows, y, **exact)
