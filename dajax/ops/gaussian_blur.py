"""Gaussian blur with a width for each image, as DACS and DAFormer blur: kornia 0.5.8's
GaussianBlur2d (kornia.filters), whose kernel is separable and whose border is mirrored.
"""

import math

import jax.numpy as jnp

from dajax.typing import Array, Float

# exp(-6.1^2 / 2) = 8e-9: what a kernel has further out than so many sigmas rounds to nothing in
# float32.
_REACH = 6.1


def kernel_size(length: int) -> int:
    """The released code's number of taps for an axis of `length` pixels, a tenth of it made odd:
    64: 7, 512: 51 (`gaussian_blur` in mmseg/models/utils/dacs_transforms.py of DAFormer).
    """
    tenth = math.ceil(0.1 * length)
    return math.floor(tenth - 0.5 + tenth % 2)


def gaussian_kernel(sigma: Float[Array, " N"], size: int) -> Float[Array, "N size"]:
    """exp(-x^2 / (2 sigma^2)) at the `size` integers around 0, scaled to the sum 1.

    Args:
      sigma: float32 [N], in pixels, above 0.
      size: odd.
    """
    offsets = jnp.arange(size, dtype=sigma.dtype) - size // 2
    weights = jnp.exp(-jnp.square(offsets)[None] / (2.0 * jnp.square(sigma)[:, None]))
    return weights / weights.sum(1, keepdims=True)


def gaussian_blur(
    images: Float[Array, "N H W C"], sigma: Float[Array, " N"], *, largest_sigma: float
) -> Float[Array, "N H W C"]:
    """Every image blurred with its own width, by `kernel_size` taps along each axis.

    Taps that are 0 in float32 for any width up to `largest_sigma` are left out: 15 of the 51 of a
    crop of 512 pixels remain for DAFormer's 1.15.

    Args:
      images: float32 [N, H, W, C].
      sigma: float32 [N], in pixels, the same along both axes.
      largest_sigma: that no entry of sigma exceeds.
    """
    reach = math.ceil(_REACH * largest_sigma)
    for axis in (1, 2):
        size = min(kernel_size(images.shape[axis]), 2 * reach + 1)
        images = _along(images, gaussian_kernel(sigma, size), axis)
    return images


def _along(images, kernel, axis):
    """The images convolved along one axis with a kernel each, [N, size]."""
    size, length = kernel.shape[1], images.shape[axis]
    margins = [(0, 0)] * images.ndim
    margins[axis] = (size // 2, size // 2)
    padded = jnp.pad(images, margins, mode="reflect")
    blurred = jnp.zeros_like(images)
    for tap in range(size):
        window = [slice(None)] * images.ndim
        window[axis] = slice(tap, tap + length)
        blurred = blurred + kernel[:, tap].reshape(-1, 1, 1, 1) * padded[tuple(window)]
    return blurred
