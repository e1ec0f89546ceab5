"""The strong augmentation of images that are already normalised, on the device: colour jitter, then
blur (DACS, utils/transformsgpu.py; `strong_transform` in mmseg/models/utils/dacs_transforms.py of
DAFormer). It moves no pixel, so that labels keep their place.

Whether there is jitter, and whether there is blur, is drawn once a step for the whole batch; how
much, for each image. All of it is drawn for the rows of the whole batch, so that several devices
see what one sees.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dajax.ops.color_ops import KINDS, OPERATIONS, color_jitter, factor_ranges
from dajax.ops.gaussian_blur import gaussian_blur
from dajax.settings import choice

CHANNELS = ("rgb", "bgr")


class Strong(NamedTuple):
    """What is random in one strong view of N images.

    Attributes:
      jitters, blurs: bool scalars, whether either is done.
      factors: float32 [N, 4]; order: int32 [N, 4]; see color_ops.color_jitter.
      sigma: float32 [N], of the blur, in pixels.
    """

    jitters: jax.Array
    blurs: jax.Array
    factors: jax.Array
    order: jax.Array
    sigma: jax.Array


def check(config):
    """Raises SettingError for an unknown color_jitter.kind or normalisation.channels."""
    choice(config, "color_jitter.kind", KINDS)
    choice(config, "normalisation.channels", CHANNELS)


def draw(rng, rows, config, *, one_call=False):
    """A Strong for some rows of the whole batch.

    Args:
      rng: key, the same on every device.
      rows: int32 [N], places in the whole batch.
      config: a stage's `color_jitter` and `blur`.
      one_call: order and sigma are drawn once for all images, as where the released code hands over
        a whole batch; else once for each, as where it goes image by image.
    """
    of_gates, of_call, of_rows = jax.random.split(rng, 3)
    gates = jax.random.uniform(of_gates, (2,))
    low, high = jnp.asarray(factor_ranges(**_strengths(config.color_jitter))).T

    def of_key(key):
        first, second, third = jax.random.split(key, 3)
        factors = jax.random.uniform(first, (len(OPERATIONS),), minval=low, maxval=high)
        order = jax.random.permutation(second, len(OPERATIONS)).astype(jnp.int32)
        sigma = jax.random.uniform(
            third, (), minval=config.blur.sigma[0], maxval=config.blur.sigma[1]
        )
        return factors, order, sigma

    keys = jax.vmap(jax.random.fold_in, (None, 0))(of_rows, rows)
    factors, order, sigma = jax.vmap(of_key)(keys)
    if one_call:
        _, order, sigma = (
            jnp.broadcast_to(one[None], (len(rows), *one.shape)) for one in of_key(of_call)
        )
    return Strong(
        jitters=gates[0] < config.color_jitter.probability,
        blurs=gates[1] < config.blur.probability,
        factors=factors,
        order=order,
        sigma=sigma,
    )


def _strengths(jitter):
    return {name: jitter[name] for name in OPERATIONS}


def strong_view(images, strong, config):
    """The images, jittered and blurred as drawn.

    Args:
      images: float32 [N, H, W, 3], normalised as config.normalisation says.
      strong: a Strong.
      config: a stage's `color_jitter`, `blur` and `normalisation`. What has the probability 0 is
        left out of the program.
    """
    if config.color_jitter.probability:

        def jittered(images):
            changed = color_jitter(
                to_rgb(images, config.normalisation),
                strong.factors,
                strong.order,
                kind=config.color_jitter.kind,
            )
            return from_rgb(changed, config.normalisation)

        images = jax.lax.cond(strong.jitters, jittered, lambda images: images, images)
    if config.blur.probability:

        def blurred(images):
            return gaussian_blur(images, strong.sigma, largest_sigma=config.blur.sigma[1])

        images = jax.lax.cond(strong.blurs, blurred, lambda images: images, images)
    return images


def to_rgb(images, normalisation):
    """Normalised images float32 [N, H, W, 3] -> RGB in [0, 1].

    Args:
      normalisation: `channels`, `divisor`, `mean`, `std`, as a transform of config.data has them.
    """
    mean, std = _constants(normalisation)
    values = (images * std + mean) * (normalisation.divisor / 255.0)
    return values[..., ::-1] if normalisation.channels == "bgr" else values


def from_rgb(rgb, normalisation):
    """The way back."""
    mean, std = _constants(normalisation)
    values = rgb[..., ::-1] if normalisation.channels == "bgr" else rgb
    return (values * (255.0 / normalisation.divisor) - mean) / std


def _constants(normalisation):
    """(mean, std), float32 [1, 1, 1, 3] each."""
    return (
        jnp.asarray(tuple(values), jnp.float32).reshape(1, 1, 1, 3)
        for values in (normalisation.mean, normalisation.std)
    )
