"""Pseudo-labels of the target's pixels: the predictions that pass a threshold, of confidence.py.

Labels are int32, 255 for pixels without a label.
"""

import jax
import jax.numpy as jnp

from dajax.ops.labels import IGNORED
from dajax.typing import AnyArray, Array, Bool, Float, Int


def class_balanced_labels(
    probabilities: Float[Array, "*pixels K"], thresholds: Float[Array, " K"]
) -> Int[Array, "*pixels"]:
    """CBST's labels (label_selection of crst_seg.py): the class whose probability is greatest in
    proportion to its threshold, where that proportion reaches 1. It need not be the most probable
    class.

    Args:
      probabilities: float32 [..., K].
      thresholds: float32 [K], of `portion_thresholds`.

    Returns:
      int32 [...].
    """
    limits = thresholds.reshape((1,) * (probabilities.ndim - 1) + (-1,))
    labels = jnp.argmax(probabilities / limits, -1).astype(jnp.int32)
    # not of the quotient, which a compiler may round below 1 at the threshold itself
    return jnp.where((probabilities >= limits).any(-1), labels, IGNORED)


def confident_labels(
    probabilities: Float[Array, "*pixels K"],
    thresholds: Float[Array, " K"],
    *,
    strict: bool = False,
) -> Int[Array, "*pixels"]:
    """The predicted class where it is confident enough, by SPCL's rule (pseudo_label.py, test).

    Args:
      probabilities: float32 [..., K]; 16 bits cannot tell 0.9 from its neighbours.
      thresholds: float32 [K].
      strict: True, the paper's eq. 5: confident above the class's threshold. False, the code: at
        the threshold, too.

    Returns:
      int32 [...].
    """
    best, predictions = probabilities.max(-1), jnp.argmax(probabilities, -1).astype(jnp.int32)
    threshold = jnp.take(thresholds, predictions)
    return jnp.where(best > threshold if strict else best >= threshold, predictions, IGNORED)


def static_labels(
    probabilities: Float[Array, "N H W K"], thresholds: Float[Array, " K"], *, image_fraction: float
) -> tuple[Int[Array, "N H W"], Bool[Array, "N H W"], Bool[Array, "N H W"]]:
    """BiCL's static labels as DASS's released code makes them (save_pred; the slides cite CBST, but
    the procedure is CCM's).

    A pixel gets its predicted class where ANY class reaches its threshold, not only the predicted
    one, or where the pixel is among the most confident `image_fraction` of its image.

    Args:
      probabilities: float32 [N, H, W, K].
      thresholds: float32 [K], from top_thresholds.
      image_fraction: 0.1 in the code; 0 leaves the thresholds alone. With k =
        int(image_fraction * pixels), pixels more confident than the k-th pass.

    Returns:
      (int32 [N, H, W], bool [N, H, W] by threshold, bool [N, H, W] by rank in the image).
    """
    shape = probabilities.shape[:3]
    rank = static_rank(shape[1] * shape[2], image_fraction)
    return static_labels_by_rank(
        probabilities, thresholds, jnp.ones(shape, bool), jnp.full(shape[:1], rank)
    )


def static_rank(num_pixels: int, image_fraction: float) -> int:
    """How many of an image's pixels are at most as confident as the one that static_labels
    compares with: num_pixels - int(image_fraction * num_pixels), at most num_pixels - 1.
    """
    return min(num_pixels - int(image_fraction * num_pixels), num_pixels - 1)


def static_labels_by_rank(
    probabilities: Float[Array, "N H W K"],
    thresholds: Float[Array, " K"],
    mask: Bool[Array, "N H W"],
    rank: Int[AnyArray, " N"],
) -> tuple[Int[Array, "N H W"], Bool[Array, "N H W"], Bool[Array, "N H W"]]:
    """static_labels of images of several sizes, each in the corner of an array.

    Args:
      probabilities, thresholds: as there.
      mask: bool [N, H, W], the pixels of each image; what is returned for others means nothing.
      rank: int32 [N], static_rank of each image.
    """
    best, predictions = probabilities.max(-1), jnp.argmax(probabilities, -1).astype(jnp.int32)
    by_threshold = (probabilities >= thresholds.reshape(1, 1, 1, -1)).any(-1)
    # below any probability, so that they come first
    counted = jnp.where(mask, best, -1.0).reshape(best.shape[0], -1)
    place = (~mask).reshape(counted.shape).sum(1).astype(jnp.int32) + rank
    limit = jnp.take_along_axis(jnp.sort(counted, axis=1), place[:, None], 1)  # [N, 1]
    by_rank = best > limit[:, :, None]
    return jnp.where(by_threshold | by_rank, predictions, IGNORED), by_threshold, by_rank


def dynamic_labels(
    scores: Float[Array, "*pixels K"], *, threshold: float | Float[Array, ""]
) -> Int[Array, "*pixels"]:
    """BiCL's dynamic labels y_D: the class of the best score where that exceeds the threshold, else
    none.

    Args:
      scores: float32 [..., K]. The slides': cosines to the calibrated prototypes
        (prototypes.prototype_similarities with rho_S + domain_bias). The alternative:
        prototypes.soft_assignment.
      threshold: T, or the result of `fraction_threshold`. The slides give no value. The golden file
        dass_formula has 0.55 for cosines, which is no recommendation; an unused branch of DASS's
        code intends 0.8 for probabilities at temperature 0.1.

    Returns:
      int32 [...], a constant for gradients. Absent classes have cosine -1, below any sensible
        threshold.
    """
    scores = jax.lax.stop_gradient(scores)
    return jnp.where(scores.max(-1) > threshold, jnp.argmax(scores, -1).astype(jnp.int32), IGNORED)


def hybrid_labels(
    dynamic: Int[Array, "*pixels"], static: Int[Array, "*pixels"], *, priority: str = "dynamic"
) -> Int[Array, "*pixels"]:
    """BiCL's labels y_T. Where both kinds have a class, the class of `priority`; where one kind has
    a class, that.

    Args:
      dynamic, static: int32 [...] with 255 for none, of one shape.
      priority: "dynamic", as in the slides; "static", as in a third-party port of the code, which
        only fills the gaps of the static label.

    Raises:
      ValueError: unknown priority.
    """
    if priority not in ("dynamic", "static"):
        raise ValueError(f"unknown priority '{priority}'; known: dynamic, static")
    first, second = (dynamic, static) if priority == "dynamic" else (static, dynamic)
    return jnp.where(first != IGNORED, first, second)
