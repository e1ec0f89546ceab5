"""Colour jitter on the device: kornia 0.5.8's, which DAFormer, HRDA and MIC pin and DACS does not,
and torchvision's.

Both change brightness, contrast, saturation and hue, in an order that is drawn. They are other
operations by the same names:

                  kornia 0.5.8                    torchvision (and kornia from 0.6.5 on)
  brightness      x + (f - 1)                     f x
  contrast        f x, towards black              towards the mean grey of the image
  saturation      of HSV                          towards the grey of the pixel
  hue             of HSV, f turns                 the same

Images are float32 RGB in [0, 1]. kornia.enhance.adjust and kornia.color.hsv of 0.5.8;
torchvision/transforms/_functional_tensor.py of 0.15.
"""

import functools

import jax
import jax.numpy as jnp

from dajax.typing import Array, Float, Int

KINDS = ("kornia", "torchvision")
OPERATIONS = ("brightness", "contrast", "saturation", "hue")  # the numbers of `order`
TURN = 2 * jnp.pi
# kornia.color.rgb_to_hsv divides by the value plus this; torchvision by the value alone.
_EPSILON = {"kornia": 1e-6, "torchvision": 0.0}
_GREY = (0.2989, 0.587, 0.114)  # torchvision's rgb_to_grayscale


def rgb_to_hsv(
    rgb: Float[Array, "*pixels 3"], *, epsilon: float = _EPSILON["kornia"]
) -> Float[Array, "*pixels 3"]:
    """RGB in [0, 1] -> hue in [0, 2 pi), saturation, value.

    The hue is measured from the first of the greatest channels; it is 0 for greys.

    Args:
      rgb: float32 [..., 3].
      epsilon: added to the value, by which the saturation is divided.
    """
    value, least = rgb.max(-1), rgb.min(-1)
    chroma = value - least
    divisor = value + epsilon if epsilon else jnp.where(value == 0, 1.0, value)
    spread = jnp.where(chroma == 0, 1.0, chroma)
    red, green, blue = (value - rgb[..., i] for i in range(3))
    sixths = jnp.stack(
        [(blue - green), 2.0 * chroma + (red - blue), 4.0 * chroma + (green - red)], -1
    )
    first = jax.nn.one_hot(rgb.argmax(-1), 3, dtype=rgb.dtype)
    hue = jnp.mod((sixths * first).sum(-1) / spread / 6.0, 1.0)
    return jnp.stack([TURN * hue, chroma / divisor, value], -1)


def hsv_to_rgb(hsv: Float[Array, "*pixels 3"]) -> Float[Array, "*pixels 3"]:
    """The way back; the hue may lie outside of [0, 2 pi)."""
    hue, saturation, value = (hsv[..., i] for i in range(3))
    sixths = hue / TURN * 6.0
    sector = jnp.mod(jnp.floor(sixths), 6.0)
    fraction = jnp.mod(sixths, 6.0) - sector
    low = value * (1.0 - saturation)
    falling = value * (1.0 - fraction * saturation)
    rising = value * (1.0 - (1.0 - fraction) * saturation)
    red = (value, falling, low, low, rising, value)
    green = (rising, value, value, falling, low, low)
    blue = (low, low, rising, value, value, falling)

    def of_sector(values):
        return sum(jnp.where(sector == number, each, 0.0) for number, each in enumerate(values))

    return jnp.stack([of_sector(values) for values in (red, green, blue)], -1)


def adjust(
    image: Float[Array, "H W 3"], operation: str, factor: Float[Array, ""], *, kind: str
) -> Float[Array, "H W 3"]:
    """One of OPERATIONS on one image.

    Args:
      image: float32 RGB in [0, 1].
      operation: its name.
      factor: float32 scalar; 1 changes nothing, of the hue 0.
      kind: one of KINDS.
    """
    if operation == "hue":
        return _shifted_hue(image, factor, kind)
    if kind == "kornia":
        if operation == "brightness":
            return jnp.clip(image + (factor - 1.0), 0.0, 1.0)
        if operation == "contrast":
            return jnp.clip(image * factor, 0.0, 1.0)
        hsv = rgb_to_hsv(image)
        saturation = jnp.clip(hsv[..., 1] * factor, 0.0, 1.0)
        return hsv_to_rgb(jnp.stack([hsv[..., 0], saturation, hsv[..., 2]], -1))
    grey = sum(weight * image[..., i] for i, weight in enumerate(_GREY))  # [H, W]
    towards = {
        "brightness": jnp.zeros_like(image),
        "contrast": jnp.full_like(image, grey.mean()),
        "saturation": jnp.stack([grey] * 3, -1),
    }[operation]
    return jnp.clip(factor * image + (1.0 - factor) * towards, 0.0, 1.0)


def _shifted_hue(image, turns, kind):
    hsv = rgb_to_hsv(image, epsilon=_EPSILON[kind])
    hue = jnp.fmod(hsv[..., 0] + TURN * turns, TURN)
    return hsv_to_rgb(jnp.stack([hue, hsv[..., 1], hsv[..., 2]], -1))


def color_jitter(
    images: Float[Array, "N H W 3"],
    factors: Float[Array, "N 4"],
    order: Int[Array, "N 4"],
    *,
    kind: str,
) -> Float[Array, "N H W 3"]:
    """The four operations on each image, one after the other.

    Args:
      images: float32 RGB in [0, 1].
      factors: float32 [N, 4], in the order of OPERATIONS.
      order: int32 [N, 4], for each image the numbers of OPERATIONS in the order that they are done
        in.
      kind: one of KINDS.

    Returns:
      float32 [N, H, W, 3]; kornia's last hue may leave [0, 1] by rounding, it is not cut off.

    Raises:
      ValueError: unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown colour jitter '{kind}'; known: {', '.join(KINDS)}")
    done = [
        functools.partial(_numbered, number=number, kind=kind) for number in range(len(OPERATIONS))
    ]

    def of_image(one):
        image, of_factors, of_order = one
        for place in range(len(OPERATIONS)):
            image = jax.lax.switch(of_order[place], done, image, of_factors)
        return image

    # image by image: under vmap a switch would compute all of its branches
    return jax.lax.map(of_image, (images, factors, order))


def _numbered(image, factors, *, number, kind):
    return adjust(image, OPERATIONS[number], factors[number], kind=kind)


def factor_ranges(
    *, brightness: float, contrast: float, saturation: float, hue: float
) -> tuple[tuple[float, float], ...]:
    """(lowest, highest) factor of each of OPERATIONS, for strengths as both libraries take them:
    1 - s to 1 + s, at least 0, and of the hue -s to s in turns.
    """
    around_one = [(max(0.0, 1.0 - s), 1.0 + s) for s in (brightness, contrast, saturation)]
    return (*around_one, (-hue, hue))
