"""Fourier domain adaptation's style transfer: the low frequencies of one image's amplitudes, put
into another (Yang and Soatto, CVPR 2020, eq. 3).
"""

import jax.numpy as jnp
import numpy as np

from dajax.typing import Array, Float


def swap_amplitudes(
    source: Float[Array, "N H W C"], target: Float[Array, "N H W C"], *, beta: float
) -> Float[Array, "N H W C"]:
    """The source images with the target's amplitudes at frequencies up to b along both sides, b =
    floor(beta min(H, W)); phases and all other amplitudes stay the source's.

    This is FDA_source_to_target_np of the authors' utils/__init__.py: a window of 2 b + 1
    frequencies a side, symmetric about 0, so that the result is real, and the mean colour is
    swapped even where b = 0. Their training code has another: frequencies -b to b - 1 of half a
    spectrum, which is no spectrum of a real image, so that its inverse is undefined; and nothing at
    b = 0.

    Args:
      source: float [N, H, W, C], not normalised but for a common scale: the mean of an image is one
        of its amplitudes.
      target: of the same shape, row by row the style.
      beta: from 0; 0.5 and more swaps all amplitudes. 0.01, 0.05 and 0.09 in the paper.

    Returns:
      float32 [N, H, W, C]; like the authors', neither clipped nor rounded.

    Raises:
      ValueError: the shapes differ.
    """
    if source.shape != target.shape:
        raise ValueError(
            f"swap_amplitudes: source {source.shape} and target {target.shape} must have the same"
            " shape"
        )
    size_hw = source.shape[1:3]
    spectrum, style = (
        jnp.fft.rfft2(images.astype(jnp.float32), axes=(1, 2)) for images in (source, target)
    )
    bound = int(np.floor(min(size_hw) * beta))
    rows = np.abs(np.fft.fftfreq(size_hw[0], 1 / size_hw[0])) < bound + 0.5
    columns = np.fft.rfftfreq(size_hw[1], 1 / size_hw[1]) < bound + 0.5
    is_low = (rows[:, None] & columns[None])[None, :, :, None]
    amplitude, of_style = jnp.abs(spectrum), jnp.abs(style)
    factor = of_style / jnp.where(amplitude > 0, amplitude, 1.0)
    # of amplitude 0 the phase is 0, as numpy's angle has it
    scaled = jnp.where(
        amplitude > 0, spectrum * factor.astype(spectrum.dtype), of_style.astype(spectrum.dtype)
    )
    swapped = jnp.where(is_low, scaled, spectrum)
    return jnp.fft.irfft2(swapped, s=size_hw, axes=(1, 2)).astype(jnp.float32)
