"""Pictures of a segmentation for people: image | prediction, and | label | error."""

import numpy as np

from dajax.ops.labels import IGNORED
from dajax.typing import UInt8

RIGHT, WRONG, NOT_COUNTED = (70, 110, 70), (220, 40, 40), (0, 0, 0)


def colored(
    train_ids: UInt8[np.ndarray, "H W"], palette: UInt8[np.ndarray, "K 3"]
) -> UInt8[np.ndarray, "H W 3"]:
    """Train ids uint8 [H, W] in the colours of a palette uint8 [K, 3]: uint8 [H, W, 3]. Ids without
    a colour, such as 255, are black.
    """
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    return colors[train_ids]


def error_map(
    prediction: UInt8[np.ndarray, "H W"], label: UInt8[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """uint8 [H, W] twice -> uint8 [H, W, 3]: wrong pixels red, right ones green, ignored ones
    black.
    """
    picture = np.where(
        (prediction == label)[..., None], np.array(RIGHT, np.uint8), np.array(WRONG, np.uint8)
    )
    return np.where((label == IGNORED)[..., None], np.array(NOT_COUNTED, np.uint8), picture)


def panels(
    image: UInt8[np.ndarray, "H W 3"],
    prediction: UInt8[np.ndarray, "H W"],
    label: UInt8[np.ndarray, "H W"] | None,
    palette: UInt8[np.ndarray, "K 3"],
) -> UInt8[np.ndarray, "H wide 3"]:
    """image | prediction | label | error side by side, without a label the first two.

    Args:
      image: uint8 [H, W, 3]. prediction, label: uint8 [H, W] train ids; the label or None.
        palette: uint8 [K, 3].

    Returns:
      uint8 [H, 4 W + 6, 3], or [H, 2 W + 2, 3]: panels two white pixels apart.
    """
    parts = [image, colored(prediction, palette)]
    if label is not None:
        parts += [colored(label, palette), error_map(prediction, label)]
    gap = np.full((image.shape[0], 2, 3), 255, np.uint8)
    return np.concatenate([piece for part in parts for piece in (part, gap)][:-1], axis=1)
