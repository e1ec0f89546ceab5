"""Pseudo-labels of the target's pixels: a threshold of confidence for each class, and the
predictions that pass it.

Thresholds are order statistics over billions of pixels. SPCL's code stores the confidences of all
pixels (18 GB), DASS's of every fifth. Here a histogram per class counts them, and adds up over
batches and devices. Its bins are equally wide in sqrt(1 - p): they are narrow where p is nearly 1,
where a tenth of a road's pixels may lie within 1e-5.

Labels are int32, 255 for pixels without a label.
"""

from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np

from dajax.ops.labels import IGNORED
from dajax.typing import AnyArray, Array, Bool, Float, Int

NUM_BINS = 1 << 14  # ours: a threshold's error stays below 1.3e-4, see confidence_histogram


def confidence_histogram(
    confidence: Float[Array, "N H W"],
    predictions: Int[Array, "N H W"],
    mask: Bool[Array, "N H W"],
    *,
    num_classes: int,
    num_bins: int = NUM_BINS,
    keep_every: int = 1,
) -> Int[Array, "K B"]:
    """Counts the pixels of each predicted class by their confidence. Histograms add up over batches
    and devices.

    With B bins a threshold is at most the exact one, p, and below it by at most
    2 sqrt(1 - p) / B + 1 / B^2, besides float32 rounding (2e-7): with NUM_BINS 1.3e-4 anywhere, and
    4e-5 at 0.9. So labelling with it keeps all pixels that the exact threshold keeps.

    Args:
      confidence: float [N, H, W], the largest class probability of each pixel.
      predictions: int32 [N, H, W], its class.
      mask: bool [N, H, W], pixels that count.
      num_classes: K.
      num_bins: B.
      keep_every: n. Of each image's pixels of a class, sorted by confidence, only number 0, n, 2n,
        ... count. 5 in DASS's code.

    Returns:
      int32 [K, B], bins in ascending order of confidence. A count overflows at 2^31 pixels: add up
        whole sets in np.int64 on the host.
    """
    distance = jnp.sqrt(jnp.maximum(1.0 - confidence.astype(jnp.float32), 0.0))
    bins = (
        num_bins - 1 - jnp.clip(jnp.floor(distance * num_bins).astype(jnp.int32), 0, num_bins - 1)
    )
    # out of bounds: dropped
    cells = jnp.where(mask, predictions.astype(jnp.int32) * num_bins + bins, num_classes * num_bins)

    def count(cells):
        flat = (
            jnp.zeros((num_classes * num_bins,), jnp.int32)
            .at[cells.reshape(-1)]
            .add(1, mode="drop")
        )
        return flat.reshape(num_classes, num_bins)

    if keep_every == 1:
        return count(cells)

    def thinned(cells):
        # Ranks 0, n, 2n, ... are kept: ceil(cumulative count / n) of them up to the end of a bin.
        kept = (jnp.cumsum(count(cells), 1) + keep_every - 1) // keep_every
        return jnp.diff(kept, axis=1, prepend=jnp.zeros((num_classes, 1), jnp.int32))

    return jax.lax.map(thinned, cells).sum(0)


def quantile_thresholds(
    histogram: Int[AnyArray, "K B"], *, proportion: float, cap: float
) -> Float[AnyArray, " K"]:
    """SPCL's threshold of each class (pseudo_label.py, get_threshold; eq. 5 of the paper): the
    smaller of `cap` and a quantile of the class's confidences.

    The quantile of n ascending confidences is number round(proportion * n), counted from 0; halves
    round to even. For proportion 0.5: of three number 2, the greatest; of five number 2 as well.

    Args:
      histogram: int [K, B]; np.int64 for whole sets, or a jax array inside a train step (the
        paper's online thresholds).
      proportion: 0.5 in code and paper, the median.
      cap: 0.9 in both.

    Returns:
      float [K]; 0 for a class without pixels.
    """
    xp = histogram.__array_namespace__()
    counts = histogram.sum(1)
    rank = xp.round(xp.asarray(counts, dtype=float) * proportion).astype(counts.dtype)
    value = _value_at(histogram, xp.clip(rank, 0, xp.maximum(counts - 1, 0)))
    return xp.where(
        counts > 0, xp.minimum(value, xp.asarray(cap, dtype=value.dtype)), xp.zeros_like(value)
    )


def top_thresholds(
    histogram: Int[np.ndarray, "K B"], *, fraction: float, never: Collection[int] = ()
) -> Float[np.ndarray, " K"]:
    """DASS's threshold of each class (utils/func.py): the least confidence of the most confident
    `fraction` of its pixels.

    Of n ascending confidences v it is v[-int(n * fraction)]. With fewer than 1 / fraction pixels
    that is v[-0], the least of all.

    Args:
      histogram: np.int64 [K, B], made with keep_every=5 as the code does.
      fraction: 0.1 in the code, which keeps it (thres_inc 0).
      never: classes with threshold 1. The code's are 9, 14 and 16 when the source is SYNTHIA. A
        class without pixels has threshold 1 as well (our choice; the code fails).

    Returns:
      float32 [K].
    """
    counts = histogram.sum(1)
    taken = (counts.astype(np.float64) * fraction).astype(np.int64)
    value = _value_at(histogram, np.where(taken > 0, counts - taken, 0))
    return np.where((counts > 0) & ~np.isin(np.arange(len(counts)), never), value, np.float32(1.0))


def portion_thresholds(
    histogram: Int[np.ndarray, "K B"], *, portion: float
) -> Float[np.ndarray, " K"]:
    """CBST's threshold of each class (kc_parameters of crst_seg.py): the least confidence of the
    most confident `portion` of its pixels, which is number floor(n * portion) of n, counted from 1
    and from above; 1 where that is 0, so of a class with few pixels or none.

    Args:
      histogram: np.int64 [K, B]; the code counts every fourth pixel, see `every_nth_of_class`.
      portion: 0.2 in the first round.

    Returns:
      float32 [K].
    """
    counts, taken = histogram.sum(1), portion_sizes(histogram, portion=portion)
    return np.where(taken > 0, _value_at(histogram, counts - taken), np.float32(1.0))


def portion_sizes(histogram: Int[np.ndarray, "K B"], *, portion: float) -> Int[np.ndarray, " K"]:
    """How many of the pixels counted are among each class's most confident `portion`: np.int64 [K],
    floor(n * portion) (`cls_sel_size` of crst_seg.py). See portion_thresholds.
    """
    return np.floor(histogram.sum(1).astype(np.float64) * portion).astype(np.int64)


def every_nth_of_class(
    predictions: Int[Array, "H W"], *, every: int, num_classes: int
) -> Bool[Array, "H W"]:
    """Of each predicted class's pixels of an image, in raster order, number 0, n, 2n, ...: bool
    [H, W] (`ds_rate`, 4, of crst_seg.py).
    """
    flat = predictions.reshape(-1)

    def of_class(kept, number):
        members = flat == number
        place = jnp.cumsum(members) - 1
        return kept | (members & (place % every == 0)), None

    kept, _ = jax.lax.scan(of_class, jnp.zeros(flat.shape, bool), jnp.arange(num_classes))
    return kept.reshape(predictions.shape)


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


def _value_at(histogram, rank):
    """float32 [K]: the lower end of the bin that holds the confidence of ascending rank [K]."""
    xp, num_bins = histogram.__array_namespace__(), histogram.shape[1]
    lower_ends = (1.0 - (1.0 - np.arange(num_bins) / num_bins) ** 2).astype(np.float32)
    passed = (xp.cumsum(histogram, axis=1) <= rank[:, None]).sum(1)  # bins that end before it
    return xp.asarray(lower_ends)[xp.minimum(passed, num_bins - 1)]


def score_histogram(
    scores: Float[Array, "*pixels"], mask: Bool[Array, "*pixels"], *, lowest: float
) -> Int[Array, " B"]:
    """Counts pixels by their best score, in the bins of `confidence_histogram`, which are narrow
    where scores are nearly 1.

    Args:
      scores: float32 [...], from `lowest` to 1.
      mask: bool [...], pixels that count.
      lowest: the least possible score: -1 for cosines, 0 for probabilities.

    Returns:
      int32 [NUM_BINS].
    """
    unit = ((scores - lowest) / (1.0 - lowest)).reshape(1, 1, -1)
    return confidence_histogram(
        unit, jnp.zeros(unit.shape, jnp.int32), mask.reshape(unit.shape), num_classes=1
    )[0]


def move_histogram(
    old: Float[Array, " B"], counts: Int[Array, " B"], *, decay: float
) -> Float[Array, " B"]:
    """The moving average of a histogram, as fractions that sum to 1: float32 [B].

    The first batch is taken as it is; a batch without a pixel changes nothing.

    Args:
      old: float32 [B], fractions that sum to 1, or all 0 before the first batch.
      counts: int32 [B], of the batch, over all devices.
      decay: weight of `old`.
    """
    counts = counts.astype(jnp.float32)
    total = counts.sum()
    fractions = counts / jnp.maximum(total, 1.0)
    moved = jnp.where(old.sum() > 0, decay * old + (1.0 - decay) * fractions, fractions)
    return jnp.where(total > 0, moved, old)


def fraction_threshold(
    histogram: Float[Array, " B"], *, fraction: float, lowest: float
) -> Float[Array, ""]:
    """The score that a `fraction` of the pixels exceed: a float32 scalar, below the exact order
    statistic by less than the width of its bin.

    Args:
      histogram: float32 [B], fractions, from `move_histogram`.
      fraction: above 0 and below 1.
      lowest: as in `score_histogram`.
    """
    # 2e-6 is more than the rounding of sums of float32 fractions.
    rank = histogram.sum()[None] * (1.0 - fraction) + 2e-6
    unit = _value_at(histogram[None], rank)[0]
    return lowest + (1.0 - lowest) * unit


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
