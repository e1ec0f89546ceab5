"""The strong augmentation of images that are already normalised, on the device: colour jitter, then
blur (DACS, utils/transformsgpu.py; `strong_transform` in mmseg/models/utils/dacs_transforms.py of
DAFormer). It moves no pixel, so that labels keep their place.

Whether there is jitter, and whether there is blur, is drawn once a step for the whole batch
(strong_for="batch"), or for each image (VFM-UDA); how much, for each image. All of it is drawn for
the rows of the whole batch, so that several devices see what one sees.

The weak view is a jitter alone, of other strengths, drawn for each image (VFM-UDA's
random_aug_weak).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dajax.ops.color_ops import KINDS, OPERATIONS, color_jitter, factor_ranges
from dajax.ops.gaussian_blur import gaussian_blur
from dajax.settings import SettingError, choice

CHANNELS = ("rgb", "bgr")
STRONG_FOR = ("batch", "image")


class Strong(NamedTuple):
    """What is random in one strong view of N images.

    Attributes:
      jitters, blurs: bool scalars, whether either is done; bool [N] where each image has its own.
      factors: float32 [N, 4]; order: int32 [N, 4]; see color_ops.color_jitter.
      sigma: float32 [N], of the blur, in pixels.
    """

    jitters: jax.Array
    blurs: jax.Array
    factors: jax.Array
    order: jax.Array
    sigma: jax.Array


def check(config):
    """Raises SettingError for an unknown word of strong_for, color_jitter or normalisation."""
    choice(config, "strong_for", STRONG_FOR)
    choice(config, "color_jitter.kind", KINDS)
    choice(config, "normalisation.channels", CHANNELS)


def draw(rng, rows, config, *, one_call=False):
    """A Strong for some rows of the whole batch.

    Args:
      rng: key, the same on every device.
      rows: int32 [N], places in the whole batch.
      config: a stage's `color_jitter`, `blur` and `strong_for`.
      one_call: order and sigma are drawn once for all images, as where the released code hands over
        a whole batch; else once for each, as where it goes image by image.
    """
    of_gates, of_call, of_rows = jax.random.split(rng, 3)
    gates = jax.random.uniform(of_gates, (2,))
    if config.strong_for == "image":
        gates = _of_rows(of_gates, rows, (2,)).T
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


def draw_weak(rng, rows, config):
    """A Strong without blur, by a stage's `weak_view`; arguments as `draw`."""
    of_gates, of_rows = jax.random.split(rng)
    low, high = jnp.asarray(factor_ranges(**_strengths(config.weak_view))).T
    uniform = _of_rows(of_rows, rows, (len(OPERATIONS),))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(of_rows, rows)
    order = jax.vmap(lambda key: jax.random.permutation(key, len(OPERATIONS)))(keys)
    return Strong(
        jitters=_of_rows(of_gates, rows, ()) < config.weak_view.probability,
        blurs=jnp.zeros(rows.shape, bool),
        factors=low[None] + uniform * (high - low)[None],
        order=order.astype(jnp.int32),
        sigma=jnp.ones(rows.shape),
    )


def _of_rows(key, rows, shape):
    """Uniform in [0, 1), float32 [N, *shape], the same for a row on any number of devices."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    return jax.vmap(lambda key: jax.random.uniform(key, shape))(keys)


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
        images = _where(strong.jitters, _jittered(strong, config), images)
    if config.blur.probability:

        def blurred(images):
            return gaussian_blur(images, strong.sigma, largest_sigma=config.blur.sigma[1])

        images = _where(strong.blurs, blurred, images)
    return images


def weak_view(images, weak, config):
    """The images, jittered as `draw_weak` has drawn; as they are where weak_view.probability is 0.

    Args:
      images: as in `strong_view`.
      weak: of draw_weak, or None.
    """
    if not config.weak_view.probability:
        return images
    return _where(weak.jitters, _jittered(weak, config), images)


def _jittered(strong, config):
    """f(images) -> images with the jitter that was drawn."""

    def jittered(images):
        changed = color_jitter(
            to_rgb(images, config.normalisation),
            strong.factors,
            strong.order,
            kind=config.color_jitter.kind,
        )
        return from_rgb(changed, config.normalisation)

    return jittered


def _where(gate, change, images):
    """change(images) where the gate, a bool scalar, or bool [N], is open."""
    if gate.ndim:
        return jnp.where(gate.reshape(-1, 1, 1, 1), change(images), images)
    return jax.lax.cond(gate, change, lambda images: images, images)


def check_normalisation(found, domain, expected, prefix=""):
    """Raises SettingError where a domain's images come in other numbers than `to_rgb` counts on.

    Args:
      found: of the feed, data.normalisation(domain).
      expected: of the stage. prefix: of the stage's key "normalisation".
    """
    for key, value in found.items():
        wanted = tuple(expected[key]) if isinstance(value, tuple) else expected[key]
        if wanted != value:
            raise SettingError(
                f"{prefix}normalisation.{key}",
                wanted,
                f"config.data.transforms.{domain}.{key} is {value}: set both alike, in both"
                " domains",
            )


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
