"""The resizes of a prediction as arrays alone, for sizes that are known only when the exported
program runs: PIL's, or OpenCV's, on the way in, the bilinear one of scores on the way out.

A size is an int, or a dimension of jax.export that stands for any number. Weights of an int are
constants of the program. Those of a dimension are computed in it, in float64 as PIL and
ops.resize have it, whatever jax_enable_x64 says.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dajax.ops.resize import resize_bilinear

# Pillow, src/libImaging/Resample.c: PRECISION_BITS, the fraction bits of a weight.
_FRACTION_BITS = 22
# A weight is split in two so that float32 adds up exactly: 255 times a half of 11 bits, over the
# 64 pixels that a bicubic weight of a 16-fold reduction covers, stays below 2**24.
_SPLIT = 1 << 11
# Width of each filter on either side, in pixels of the smaller picture.
SUPPORTS = {"bilinear": 1.0, "bicubic": 2.0}


# Of OpenCV's bilinear resize, as data_pipeline.segmentation.resizes has it.
_PLAIN_BITS = 11
_PLAIN_SPLIT = 1 << 8  # of a first product below 2**19; each half times 2**11 is below 2**24


def resize_as_read(images, hw, resample):
    """The resize that the data pipeline makes of an image: the same bytes.

    Args:
      images: uint8 [N, H, W, C].
      hw: (h, w) ints.
      resample: a key of SUPPORTS, or "bilinear_plain".

    Returns:
      uint8 [N, h, w, C].
    """
    is_plain = resample == "bilinear_plain"
    return resize_plain(images, hw) if is_plain else resize_as_pil(images, hw, resample)


def resize_plain(images, hw):
    """Bilinear without antialiasing, in multiples of 1 / 2048 of a weight, rounded once; the same
    bytes as data_pipeline.segmentation.resizes. Arguments as resize_as_read.
    """
    height, width = hw
    highest = jax.lax.Precision.HIGHEST

    def sum_of(sums, part, weights):
        total = jnp.einsum(sums, part.astype(jnp.float32), weights, precision=highest)
        return total.astype(jnp.int32)

    down, across = _plain_weights(images.shape[1], height), _plain_weights(images.shape[2], width)
    rows = sum_of("nhwc,oh->nowc", images, down)
    high, low = rows // _PLAIN_SPLIT, rows % _PLAIN_SPLIT
    total = sum_of("nhwc,ow->nhoc", high, across) * _PLAIN_SPLIT
    total = total + sum_of("nhwc,ow->nhoc", low, across)
    half = 1 << (2 * _PLAIN_BITS - 1)
    return ((total + half) >> (2 * _PLAIN_BITS)).astype(jnp.uint8)


def _plain_weights(size, new_size):
    """float32 [new_size, size], whole numbers whose rows add up to 2048."""
    xp = _arrays_for(size)
    with jax.enable_x64(True):
        length = xp.asarray(size).astype(np.float64)
        positions = (xp.arange(new_size).astype(np.float64) + 0.5) * (length / np.float64(new_size))
        positions = xp.clip(positions - 0.5, np.float64(0), length - 1.0)[:, None]
        below = xp.floor(positions)
        one = np.float64(1 << _PLAIN_BITS)
        weight = xp.rint((positions - below) * one)
        pixels = xp.arange(size).astype(np.float64)[None, :]
        nothing = xp.zeros_like(weight)
        above = xp.minimum(below + 1.0, length - 1.0)
        weights = xp.where(pixels == below, one - weight, nothing)
        return (weights + xp.where(pixels == above, weight, nothing)).astype(np.float32)


def resize_as_pil(images, hw, resample):
    """PIL's antialiased resize, first along the width, then along the height; the same bytes as
    data_pipeline.preprocess.resize.

    Args:
      images: uint8 [N, H, W, C].
      hw: (h, w) ints.
      resample: a key of SUPPORTS.

    Returns:
      uint8 [N, h, w, C].
    """
    height, width = hw
    y = images.astype(jnp.float32)
    if images.shape[2] != width:
        y = _weighted(y, "nhwc,ow->nhoc", _fixed_point(images.shape[2], width, resample))
    if images.shape[1] != height:
        y = _weighted(y, "nhwc,oh->nowc", _fixed_point(images.shape[1], height, resample))
    return y.astype(jnp.uint8)


def _weighted(y, sums, weights):
    """Whole numbers of 0..255 as float32, weighted with int32 [new size, size], rounded and cut as
    PIL does it.
    """

    def sum_of(part):
        total = jnp.einsum(sums, y, part, precision=jax.lax.Precision.HIGHEST)
        return total.astype(jnp.int32)

    xp = jnp if isinstance(weights, jax.Array) else np
    high = xp.round(weights.astype(np.float32) / np.float32(_SPLIT)).astype(np.float32)
    low = (weights - high.astype(np.int32) * np.int32(_SPLIT)).astype(np.float32)
    total = sum_of(high) * _SPLIT + sum_of(low) + (1 << (_FRACTION_BITS - 1))
    return jnp.clip(total >> _FRACTION_BITS, 0, 255).astype(jnp.float32)


def _fixed_point(size, new_size, resample):
    """int32 [new_size, size]: PIL's weights (precompute_coeffs, normalize_coeffs_8bpc).

    PIL leaves out what lies beyond a filter's support; the filter is 0 there.
    """
    xp = _arrays_for(size)
    with jax.enable_x64(True):
        length = xp.asarray(size).astype(np.float64)
        scale = length / np.float64(new_size)
        spread = xp.maximum(scale, np.float64(1))
        centers = (xp.arange(new_size).astype(np.float64) + 0.5) * scale
        pixels = xp.arange(size).astype(np.float64) + 0.5
        distances = xp.abs(pixels[None, :] - centers[:, None]) / spread  # [new_size, size]
        weights = _FILTERS[resample](distances, xp)
        weights = weights / weights.sum(1, keepdims=True)
        scaled = weights * np.float64(1 << _FRACTION_BITS)
        return xp.trunc(scaled + xp.copysign(np.float64(0.5), scaled)).astype(np.int32)


def _bilinear(distance, xp):
    return xp.maximum(np.float64(1) - distance, np.float64(0))


def _bicubic(distance, xp):
    """Keys' cubic convolution with a = -0.5, as Pillow's bicubic_filter."""
    near = (1.5 * distance - 2.5) * distance * distance + 1.0
    far = (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5
    beyond = xp.zeros_like(distance)
    return xp.where(distance < 1.0, near, xp.where(distance < 2.0, far, beyond))


_FILTERS = {"bilinear": _bilinear, "bicubic": _bicubic}


def resize_scores(scores, hw, *, align_corners):
    """ops.resize.resize_bilinear to a size that may be a dimension of jax.export.

    Args:
      scores: float32 [N, h, w, K]; h and w ints.
      hw: (H, W).
      align_corners: see resize_bilinear.

    Returns:
      float32 [N, H, W, K].
    """
    if all(isinstance(size, int) for size in hw):
        return resize_bilinear(scores, hw, align_corners=align_corners)
    height, width = (
        _interpolation(scores.shape[1 + axis], hw[axis], align_corners) for axis in range(2)
    )
    highest = jax.lax.Precision.HIGHEST  # as there
    y = jnp.einsum("Ww,nhwc->nhWc", width, scores, precision=highest)
    return jnp.einsum("Hh,nhwc->nHwc", height, y, precision=highest)


def _interpolation(size, new_size, align_corners):
    """float32 [new_size, size], ops.resize's weights for a new size that is a dimension."""
    with jax.enable_x64(True):
        rows = jnp.arange(new_size).astype(np.float64)
        length = jnp.asarray(new_size).astype(np.float64)
        if align_corners:
            positions = rows * (np.float64(size - 1) / jnp.maximum(length - 1.0, 1.0))
        else:
            positions = (rows + 0.5) * (np.float64(size) / length) - 0.5
            positions = jnp.clip(positions, np.float64(0), np.float64(size - 1))
        below = jnp.minimum(jnp.floor(positions), np.float64(max(size - 2, 0)))[:, None]
        fraction = positions[:, None] - below
        columns = np.arange(size, dtype=np.float64)[None, :]
        nothing = jnp.zeros((), np.float64)
        weights = jnp.where(columns == below, 1.0 - fraction, nothing)
        weights = weights + jnp.where(columns == below + 1.0, fraction, nothing)
        return weights.astype(np.float32)


def _arrays_for(size):
    """numpy for an int, so that the result is a constant; jax.numpy for a dimension."""
    return np if isinstance(size, int) else jnp
