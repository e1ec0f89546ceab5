"""The similarity of a chosen pixel to all pixels of another image, as PLCA shows it (figure 2)."""

import jax.numpy as jnp
import numpy as np

from dajax.ops import similarity


def similarity_map(features, pixel, others):
    """Contrast-normalised cosine of one pixel's feature with those of every pixel of an image
    (PLCA, eq. 5): how many deviations above the image's mean.

    Args:
      features: float [h, w, D], of the image that the pixel is in.
      pixel: (row, column) on its grid.
      others: float [H, W, D], of the other image; of the same one for its own map.

    Returns:
      float32 [H, W]; 0 everywhere where all pixels are alike.
    """
    query, _ = similarity.factors(jnp.asarray(features)[pixel][None], "cosine")
    rows = jnp.asarray(others).reshape(-1, others.shape[-1])  # [H*W, D]
    _, key = similarity.factors(rows, "cosine")
    contrast = similarity.contrast_normalize(similarity.similarity(query, key))
    return np.asarray(contrast, np.float32).reshape(others.shape[:2])


def pixel_inside(labels, class_id):
    """The pixel of a class that is farthest from pixels of other classes along its row and its
    column: one that a person would point at.

    Args:
      labels: int [h, w]. class_id: which class; it must be there.

    Returns:
      (row, column).
    """
    inside = np.asarray(labels) == class_id
    if not inside.any():
        raise ValueError(f"no pixel of class {class_id}")
    reach = [_run_before(inside, axis, end) for axis in (0, 1) for end in (False, True)]
    return tuple(int(x) for x in np.unravel_index(np.min(reach, 0).argmax(), inside.shape))


def _run_before(inside, axis, from_end):
    """int [h, w]: how many pixels in a row, up to this one, are inside."""
    along = np.flip(inside, axis) if from_end else inside
    counted = np.cumsum(along, axis)
    run = counted - np.maximum.accumulate(np.where(along, 0, counted), axis)
    return np.flip(run, axis) if from_end else run
