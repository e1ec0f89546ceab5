"""CutMix (Yun, Han, Oh, Chun, Choe, Yoo, ICCV 2019): the box of one image that is pasted into
another, by `class_mix.paste`.
"""

import jax.numpy as jnp

from dajax.typing import Array, Bool, Float


def box_mask(
    share: Float[Array, ""], center: Float[Array, "2"], size_hw: tuple[int, int]
) -> Bool[Array, "H W"]:
    """bool [H, W]: a box with 1 - share of the area, cut off at the image's border (rand_bbox of
    the released code): its sides are those of the image times sqrt(1 - share), halved and rounded
    down from the centre to either side.

    Args:
      share: lambda, of the area that stays, in [0, 1].
      center: row and column of the centre, in pixels.
      size_hw: (H, W).
    """

    def inside(side, middle):
        half = jnp.floor(side * jnp.sqrt(1.0 - share)) // 2
        places = jnp.arange(side, dtype=jnp.float32)
        return (places >= middle - half) & (places < middle + half)

    height, width = size_hw
    return inside(height, center[0])[:, None] & inside(width, center[1])[None]
