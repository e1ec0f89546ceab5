"""The sliding window of a published evaluation, on the device: an image goes through the network in
overlapping windows, whose scores are averaged.

Source: slide_inference of mmsegmentation, as DAFormer, HRDA and MIC have it
(mmseg/models/segmentors/encoder_decoder.py). Pictures of any size, on the host, go through
`windows.blended_classes`, whose windows weigh less towards their edges.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dajax.errors import UserError
from dajax.ops.resize import resize_bilinear
from dajax.typing import Array, Float

AVERAGES = ("logits", "softmax")


class Window(NamedTuple):
    """How an image is looked at.

    Attributes:
      crop_hw: (height, width) of the window, in pixels of what the network sees. One window as
        large as the image brings its scores to the image's size before anything else: the first of
        the two resizes that mmsegmentation makes of a whole image's.
      stride_hw: how far the next window is down and to the right; at most the window's size.
      average: of "logits" (mmsegmentation; HRDA, MIC), or "softmax", of class probabilities
        (VFM-UDA).
      align_corners: of the resize to the window's size, see ops.resize.
    """

    crop_hw: tuple[int, int]
    stride_hw: tuple[int, int]
    average: str = "logits"
    align_corners: bool = True


def from_config(evaluation: Any, image_hw: tuple[int, int]) -> Window | None:
    """The Window of config.evaluation; None where its window.crop is ().

    Args:
      evaluation: with the keys window.crop, window.stride, window.average, align_corners and
        aggregation_alpha.
      image_hw: (height, width) of what the network sees.

    Raises:
      UserError: not two sides of a window and two of a stride, a window larger than the image,
        which would be another one than asked for, a stride that leaves gaps, an unknown average;
        spatial aggregation, which is over a whole image.
    """
    key, settings = "config.evaluation.window", evaluation.window
    crop_hw, stride_hw = tuple(settings.crop), tuple(settings.stride)
    if settings.average not in AVERAGES:
        raise UserError(
            f"{key}.average='{settings.average}': unknown; known: {', '.join(AVERAGES)}"
        )
    if not crop_hw and not stride_hw:
        return None
    if len(crop_hw) != 2 or len(stride_hw) != 2:
        raise UserError(
            f"{key}.crop={crop_hw}, {key}.stride={stride_hw}: expected (height, width) of both, or"
            " () of both for the whole image at once"
        )
    if evaluation.aggregation_alpha:
        raise UserError(
            f"config.evaluation.aggregation_alpha={evaluation.aggregation_alpha:g} aggregates over"
            f" a whole image, and {key}.crop={crop_hw} shows parts of it; set it to 0, or both"
            f" {key}.crop and {key}.stride to ()"
        )
    if any(side > whole for side, whole in zip(crop_hw, image_hw, strict=True)):
        raise UserError(
            f"{key}.crop={crop_hw} is larger than the image, {tuple(image_hw)} (height, width);"
            " set it to at most that, or config.data.transforms.evaluation.size to more"
        )
    if any(step > side for step, side in zip(stride_hw, crop_hw, strict=True)):
        raise UserError(
            f"{key}.stride={stride_hw} leaves gaps between windows of {key}.crop={crop_hw}; set it"
            " to at most that"
        )
    return Window(crop_hw, stride_hw, settings.average, evaluation.align_corners)


def places(size: int, crop: int, stride: int) -> list[int]:
    """Where a window begins on a side of `size` pixels: every `stride` pixels, but for the last
    one, which ends where the side does.
    """
    count = max(size - crop + stride - 1, 0) // stride + 1
    return [max(min(i * stride + crop, size) - crop, 0) for i in range(count)]


def slide(
    scores_of: Callable[[Float[Array, "N h w C"]], Float[Array, "N a b K"]],
    images: Float[Array, "N H W C"],
    window: Window,
) -> Float[Array, "N H W K"]:
    """Scores of whole images from those of windows: each window's are brought to its size, and
    where windows overlap their mean counts.

    One window of all N images is one batch of the network: memory does not grow with the number of
    windows, and the network is compiled once for all.

    Args:
      scores_of: the network, at any stride.
      images: float32 [N, H, W, C].
      window: a side longer than the image's is cut to it.

    Returns:
      float32 [N, H, W, K]: the means of the windows' logits; or with average="softmax" the
        logarithms of the means of their class probabilities, whose softmax is those means.
    """
    (height, width), channels = images.shape[1:3], images.shape[3]
    rows, columns = min(window.crop_hw[0], height), min(window.crop_hw[1], width)
    corners = [
        (top, left)
        for top in places(height, rows, window.stride_hw[0])
        for left in places(width, columns, window.stride_hw[1])
    ]
    counts = np.zeros((1, height, width, 1), np.float32)
    for top, left in corners:
        counts[:, top : top + rows, left : left + columns] += 1.0

    def seen(corner):
        start, size = (0, corner[0], corner[1], 0), (images.shape[0], rows, columns, channels)
        scores = scores_of(jax.lax.dynamic_slice(images, start, size)).astype(jnp.float32)
        scores = resize_bilinear(scores, (rows, columns), align_corners=window.align_corners)
        return jax.nn.softmax(scores) if window.average == "softmax" else scores

    def add(total, corner):
        start = (0, corner[0], corner[1], 0)
        found = seen(corner)  # [N, rows, columns, K]
        before = jax.lax.dynamic_slice(total, start, found.shape)
        return jax.lax.dynamic_update_slice(total, before + found, start), None

    places_of_windows = jnp.asarray(corners, jnp.int32)
    num_classes = jax.eval_shape(seen, places_of_windows[0]).shape[-1]
    total = jnp.zeros((images.shape[0], height, width, num_classes), jnp.float32)
    total, _ = jax.lax.scan(add, total, places_of_windows)
    mean = total / jnp.asarray(counts)
    if window.average == "logits":
        return mean
    # a probability may have become 0
    return jnp.log(jnp.maximum(mean, float(np.finfo(np.float32).tiny)))
