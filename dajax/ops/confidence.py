"""How confident a network is of each class, counted, and the thresholds that such counts give.

Thresholds are order statistics over billions of pixels. SPCL's code stores the confidences of all
pixels (18 GB), DASS's of every fifth. Here a histogram per class counts them, and adds up over
batches and devices. Its bins are equally wide in sqrt(1 - p): they are narrow where p is nearly 1,
where a tenth of a road's pixels may lie within 1e-5.
"""

from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np

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
