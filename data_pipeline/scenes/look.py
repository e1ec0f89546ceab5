"""From a drawn scene to the picture that a game or a camera gives: haze, averaging, colour, blur,
noise, lens, compression.
"""

import functools

import numpy as np

_DCT_SCALE = 1 << 10


def add_haze(canvas, color, density):
    """Fades far things into the horizon's colour: [3], per metre; the share of it is d / (1 + d)
    with d = density * metres.
    """
    optical = canvas.depth * np.float32(density)
    share = (optical / (1 + optical))[..., None]
    canvas.image += (np.asarray(color, np.float32) - canvas.image) * np.where(
        canvas.depth[..., None] > 5e3, np.float32(0), share
    )


def reduce(image, ids, factor):
    """Mean of each factor x factor block of the image, the middle of each block of the ids: int16
    [h, w, 3], uint8 [h, w].
    """
    fine = np.clip(np.rint(image), 0, 255).astype(np.int16)
    total = sum(fine[i::factor, j::factor] for i in range(factor) for j in range(factor))
    return (total + factor * factor // 2) // (factor * factor), ids[
        factor // 2 :: factor, factor // 2 :: factor
    ]


def bend(image, ids, strength):
    """Barrel distortion: each pixel of a canvas shows what lay `strength` * r**2 farther out, with
    r = 1 in the corner.
    """
    if strength == 0:
        return image, ids
    rows, columns = _bent_places(ids.shape, float(strength))
    return image[rows, columns], ids[rows, columns]


@functools.lru_cache(maxsize=4)
def _bent_places(hw, strength):
    """Where each pixel looks, int32 [H, W] rows and columns; the canvas is zoomed so that its
    corners stay in it.
    """
    y, x = ((np.arange(n) + 0.5) * (2 / n) - 1 for n in hw)
    y, x = y[:, None], x[None, :]
    scale = (1 + strength * (x * x + y * y) / 2) / (1 + strength)
    rows, columns = ((v * scale + 1) * (n / 2) for v, n in zip((y, x), hw, strict=True))
    return tuple(
        np.clip(v, 0, n - 1).astype(np.int32) for v, n in zip((rows, columns), hw, strict=True)
    )


def develop(image, sensor, dice):
    """A sensor's picture of the reduced image: int16 [h, w, 3] -> uint8 [h, w, 3]."""
    light = image.astype(np.float32)
    light *= np.asarray(sensor.tint, np.float32) * np.float32(dice.between(sensor.exposure))
    grey = ((light[..., 0] + light[..., 1] + light[..., 2]) / np.float32(3))[..., None]
    light = grey + (light - grey) * np.float32(dice.between(sensor.saturation))
    light = 118 + (light - 118) * np.float32(dice.between(sensor.contrast))
    light += _soften(light, np.float32(dice.between(sensor.blur))) - light
    amount = np.float32(dice.between(sensor.sharpen))
    light += amount * (light - _soften(light, np.float32(0.5)))
    y, x = (
        (np.arange(n, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / n) - 1
        for n in image.shape[:2]
    )
    light *= (
        1
        - np.float32(dice.between(sensor.vignette))
        * (x[None, :] * x[None, :] + y[:, None] * y[:, None])
        / 2
    )[..., None]
    step, deviation = dice.between(sensor.blocks), dice.between(sensor.noise)
    # The sum of three uniform numbers in [-1, 1) has variance 1 and is close enough to a bell
    # curve.
    light += np.float32(deviation) * (
        dice.grey(*light.shape) + dice.grey(*light.shape) + dice.grey(*light.shape)
    )
    pixels = np.clip(np.rint(light), 0, 255).astype(np.int32)
    return (_compress(pixels, step) if step >= 1 else pixels).astype(np.uint8)


def _soften(light, weight):
    """Each pixel mixed with its four neighbours: weight 0 leaves it, 1 makes all five count the
    same.
    """
    padded = np.pad(light, ((1, 1), (1, 1), (0, 0)), mode="edge")
    around = (padded[:-2, 1:-1] + padded[2:, 1:-1]) + (padded[1:-1, :-2] + padded[1:-1, 2:])
    return (light + weight * around) / (1 + 4 * weight)


@functools.lru_cache(maxsize=1)
def _dct_matrix():
    """The orthonormal 8-point DCT-II times _DCT_SCALE, rounded: int64 [8, 8]."""
    k, n = np.arange(8)[:, None], np.arange(8)[None, :]
    matrix = np.cos(np.pi * (2 * n + 1) * k / 16) * np.where(k == 0, np.sqrt(1 / 8), np.sqrt(1 / 4))
    return np.rint(matrix * _DCT_SCALE).astype(np.int64)


def _compress(pixels, step):
    """Rounds the cosine coefficients of 8x8 blocks, as JPEG does, the fine ones more coarsely:
    int32 [h, w, 3], grey levels -> same, 0..255.

    Integer arithmetic throughout. Rows and columns beyond the last whole block stay as they are.
    """
    height, width = (n // 8 * 8 for n in pixels.shape[:2])
    matrix, frequency = _dct_matrix(), np.arange(8)
    # [., ., 3, 8, 8]
    blocks = (
        pixels[:height, :width]
        .reshape(height // 8, 8, width // 8, 8, 3)
        .transpose(0, 2, 4, 1, 3)
        .astype(np.int64)
    )
    square = _DCT_SCALE * _DCT_SCALE
    quantiser = (
        (int(step * 16) * (2 + frequency[:, None] + frequency[None, :]) // 2) * (square // 16) // 4
    )
    coefficients = matrix @ (blocks - 128) @ matrix.T  # times square
    rounded = (coefficients + quantiser // 2) // quantiser * quantiser // square
    restored = (matrix.T @ rounded @ matrix + square // 2) // square + 128
    result = pixels.copy()
    result[:height, :width] = restored.transpose(0, 3, 1, 4, 2).reshape(height, width, 3)
    return np.clip(result, 0, 255)
