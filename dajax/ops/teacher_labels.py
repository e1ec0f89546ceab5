"""Pseudo-labels of a batch from a teacher's logits, and how much they count: DACS's, which
DAFormer, HRDA and MIC kept (Tranheden, Olsson, Pinto and Svensson, WACV 2021;
`threshold_uniform` in trainUDA.py, `get_pseudo_label_and_weight` in mmseg/models/uda/dacs.py).

Every pixel gets a label, and all of them one weight: the share of the batch's pixels that the
teacher is sure of.
"""

import jax
import jax.numpy as jnp

from dajax.parallel import masked_mean, total
from dajax.typing import AnyArray, Array, Bool, Float, Int


def labels_and_confidence(
    logits: Float[Array, "N H W K"],
) -> tuple[Int[Array, "N H W"], Float[Array, "N H W"]]:
    """The most probable class of every pixel, int32, and its probability, float32.

    Args:
      logits: float32 [N, H, W, K], at the size of the image.
    """
    probabilities = jax.nn.softmax(logits)
    return probabilities.argmax(-1).astype(jnp.int32), probabilities.max(-1)


def logits_of_mean(
    logits: Float[Array, "N H W K"], others: Float[Array, "N H W K"]
) -> Float[Array, "N H W K"]:
    """Logits whose softmax is the mean of the softmax of two (VFM-UDA's pseudo-labels, of an image
    and of its mirror image brought back).

    Args:
      logits, others: float32 [N, H, W, K].
    """
    return jnp.logaddexp(jax.nn.log_softmax(logits), jax.nn.log_softmax(others))


def confident_share(
    confidence: Float[Array, "N H W"],
    mask: Bool[Array, "N H W"],
    *,
    threshold: float,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """The share of the pixels whose confidence reaches the threshold: a float32 scalar, the same on
    every device.

    Args:
      confidence: float32 [N, H, W].
      mask: bool [N, H, W], pixels that count.
      threshold: 0.968 in all released code; at it a pixel counts. 0: all pixels do, and the share
        is 1, which is MIC's "no threshold".
      axis_name: the device axis over which pixels are counted. None: each device counts its own, as
        the released code does with several GPUs.
    """
    is_sure = (confidence >= threshold).astype(jnp.float32)
    return total(masked_mean(is_sure, mask, axis_name), axis_name)


def pixel_weights(
    share: Float[Array, ""],
    shape: tuple[int, int, int],
    *,
    top: int = 0,
    bottom: int = 0,
    trusted: Bool[AnyArray, "N H W"] | None = None,
) -> Float[Array, "N H W"]:
    """The weight of every pixel: the share, and 0 where pseudo-labels do not count.

    Args:
      share: float32 scalar, of confident_share.
      shape: (N, H, W).
      top, bottom: rows that do not count. DAFormer: 15 of Cityscapes' rectified border and 120 of
        the ego vehicle, in crops that have the full height of 512 pixels.
      trusted: bool [N, H, W], False for pixels that do not count (HRDA, MIC); None: all do.
    """
    rows = jnp.arange(shape[1])
    counts = ((rows >= top) & (rows < shape[1] - bottom))[None, :, None]
    weights = jnp.where(counts, jnp.broadcast_to(share, shape), 0.0)
    return weights if trusted is None else jnp.where(trusted, weights, 0.0)
