"""The resizes of torch that jax.image.resize does not have: bilinear without antialiasing or with
aligned corners, and nearest without half-pixel centres; and the largest class of a resized map.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dajax.typing import AnyArray, Array, Float, Integer, Shaped, UInt8

# Of resized scores at once, ours: a frame of Cityscapes (2048x1024, 19 classes, 159 MB) is one
# piece, as it is in the evaluation.
_PIECE_BYTES = 2**28


@functools.lru_cache(maxsize=64)
def _interpolation(size, new_size, align_corners):
    """float32 [new_size, size]: row i holds the two weights at its position in the old grid."""
    if align_corners:
        positions = np.arange(new_size) * ((size - 1) / max(new_size - 1, 1))
    else:
        positions = np.clip((np.arange(new_size) + 0.5) * (size / new_size) - 0.5, 0, size - 1)
    below = np.minimum(np.floor(positions).astype(int), max(size - 2, 0))
    weights = np.zeros((new_size, size), np.float64)
    rows, fraction = np.arange(new_size), positions - below
    weights[rows, below] = 1.0 - fraction
    weights[rows, np.minimum(below + 1, size - 1)] += fraction
    return weights.astype(np.float32)


@functools.lru_cache(maxsize=64)
def _padded_interpolation(size, new_size, room, align_corners):
    """_interpolation with rows of zeros behind it: float32 [room, size]."""
    weights = _interpolation(size, new_size, align_corners)
    return np.pad(weights, ((0, room - new_size), (0, 0)))


def interpolations(
    hw: tuple[int, int],
    sizes: Integer[np.ndarray, "N 2"],
    room_hw: Sequence[int],
    *,
    align_corners: bool = True,
) -> dict[str, Float[np.ndarray, "N room size"]]:
    """What resize_into takes, for N maps that are brought to a size each.

    Args:
      hw: of every map.
      sizes: height and width that each is brought to.
      room_hw: at least as large as each of those.
      align_corners: see resize_bilinear.

    Returns:
      {"along_height": float32 [N, H, h], "along_width": float32 [N, W, w]}.
    """
    made = {"along_height": [], "along_width": []}
    for axis, matrices in enumerate(made.values()):
        for size in sizes[:, axis].tolist():
            matrices.append(
                _padded_interpolation(hw[axis], size, int(room_hw[axis]), align_corners)
            )
    return {name: np.stack(matrices) for name, matrices in made.items()}


def resize_into(
    x: Float[Array, "h w C"],
    along_height: Float[AnyArray, "H h"],
    along_width: Float[AnyArray, "W w"],
) -> Float[Array, "H W C"]:
    """resize_bilinear of one map, whose new size the matrices say: they are data, so one program
    serves all sizes that fit into H x W. Beyond the new size there are zeros.

    The values are those of resize_bilinear but for float32's rounding: a matrix product of another
    shape may round a sum of two otherwise (2e-6 of logits up to 10).

    Args:
      x: float [h, w, C].
      along_height, along_width: from `interpolations`.

    Returns:
      [H, W, C] of x's dtype, computed in float32.
    """
    exact = dict(precision=jax.lax.Precision.HIGHEST)  # as in resize_bilinear
    y = jnp.einsum("Ww,hwc->hWc", along_width, x.astype(jnp.float32), **exact)
    return jnp.einsum("Hh,hWc->HWc", along_height, y, **exact).astype(x.dtype)


def resize_bilinear(
    x: Float[Array, "N h w C"], hw: tuple[int, int], *, align_corners: bool = True
) -> Float[Array, "N H W C"]:
    """Bilinear as torch's F.interpolate: no antialiasing when it shrinks.

    It is one matrix product per axis. From [1, 33, 65, 19] to [1, 257, 513, 19] on two cores, value
    and gradient take 4 ms; a gather of neighbours takes 23 ms, most of it in the scatter of the
    gradient.

    Args:
      x: float [N, h, w, C].
      hw: (H, W), static.
      align_corners: True: the centres of the outer pixels coincide (AdaptSegNet, CLAN, SPCL).
        False: their outer edges do, i.e. half-pixel centres (PLCA).

    Returns:
      [N, H, W, C] of x's dtype, computed in float32; x itself where the size is its own.
    """
    height, width = hw
    y = x.astype(jnp.float32)
    # HIGHEST: a GPU would otherwise round logits to TF32, 10 bits, on their way to the loss.
    if width != x.shape[2]:
        y = jnp.einsum(
            "Ww,nhwc->nhWc",
            _interpolation(x.shape[2], width, align_corners),
            y,
            precision=jax.lax.Precision.HIGHEST,
        )
    if height != x.shape[1]:
        y = jnp.einsum(
            "Hh,nhwc->nHwc",
            _interpolation(x.shape[1], height, align_corners),
            y,
            precision=jax.lax.Precision.HIGHEST,
        )
    return y.astype(x.dtype)


@functools.partial(jax.jit, static_argnames="dtype")
def _largest(x, along_height, dtype):
    """uint8 [H, W]: argmax over the classes of x float32 [h, W, K], its rows interpolated."""
    resized = jnp.einsum("Hh,hWk->HWk", along_height, x, precision=jax.lax.Precision.HIGHEST)
    return jnp.argmax(resized.astype(dtype), axis=-1).astype(jnp.uint8)


def largest_class(
    scores: Float[AnyArray, "h w K"],
    hw: tuple[int, int],
    *,
    align_corners: bool = True,
    piece_bytes: int = _PIECE_BYTES,
) -> UInt8[np.ndarray, "H W"]:
    """argmax(resize_bilinear(scores)) over the classes, without ever holding all resized scores: of
    134 megapixels and 19 classes they would take 10 GB.

    Args:
      scores: float [h, w, K], K at most 256.
      hw: (H, W).
      align_corners: see resize_bilinear.
      piece_bytes: of resized scores in memory at once, as whole rows; one row at least.

    Returns:
      uint8 [H, W].
    """
    (height, width), dtype = hw, scores.dtype
    wide = resize_bilinear(
        jnp.asarray(scores, jnp.float32)[None],
        (scores.shape[0], width),
        align_corners=align_corners,
    )[0]
    along_height = _interpolation(scores.shape[0], height, align_corners)
    count = max(min(piece_bytes // (4 * width * scores.shape[2]), height), 1)
    # of one size, for one compilation; the last one overlaps the one before
    tops = [min(top, height - count) for top in range(0, height, count)]
    classes = np.empty((height, width), np.uint8)
    for top in tops:
        rows = slice(top, top + count)
        classes[rows] = np.asarray(_largest(wide, along_height[rows], dtype))
    return classes


def _legacy_index(size, new_size):
    """int [new_size]: floor(i * size / new_size), with the quotient in float32 as torch has it."""
    scale = np.float32(size) / np.float32(new_size)
    return np.minimum(np.floor(np.arange(new_size, dtype=np.float32) * scale).astype(int), size - 1)


def resize_nearest_legacy(
    x: Shaped[AnyArray, "N h w *channels"], hw: tuple[int, int]
) -> Shaped[AnyArray, "N H W *channels"]:
    """torch's F.interpolate(mode="nearest"): output pixel i is input pixel floor(i * size /
    new_size), without half-pixel centres.

    SPCL, PLCA and DASS bring labels to the size of the features so. "nearest" of jax.image and of
    TensorFlow picks other pixels: 97 % of the entries differ on random labels
    (tests/golden/README.md, SPCL and DASS).

    Args:
      x: [N, h, w] labels or [N, h, w, C], any dtype.
      hw: (H, W), static.

    Returns:
      [N, H, W] or [N, H, W, C], of x's dtype.
    """
    return x[:, _legacy_index(x.shape[1], hw[0])][:, :, _legacy_index(x.shape[2], hw[1])]
