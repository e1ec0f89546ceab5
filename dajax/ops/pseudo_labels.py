"""Labels that a network gives the target's pixels: thresholds of confidence per class, and which
predictions pass them.

Thresholds are order statistics over billions of pixels. SPCL's code collects them all (18 GB),
DASS's every fifth; here they fall into bins of a histogram per class, which adds up over batches
and devices. Bins are equally wide in sqrt(1 - p), hence narrow where p is nearly 1 and a tenth of a
road's pixels may differ by 1e-5.

Labels are int32 with 255 for pixels that stay without.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dajax.ops.labels import IGNORED

NUM_BINS = 1 << 14


def confidence_histogram(
    confidence, predictions, mask, *, num_classes, num_bins=NUM_BINS, keep_every=1
):
    """How many pixels of each predicted class have which confidence. Histograms add up over batches
    and devices.

    A threshold from a histogram of B bins lies below the exact one, p, or on it, by at most 2
    sqrt(1 - p) / B + 1 / B^2: 1.3e-4 anywhere and 4e-5 at 0.9 for NUM_BINS, besides float32
    rounding (2e-7). Labelling with it keeps all that the exact threshold keeps.

    Args:
      confidence: float [N, H, W], the largest class probability of each pixel.
      predictions: int32 [N, H, W], its class.
      mask: bool [N, H, W], pixels that count.
      num_classes: K.
      num_bins: B.
      keep_every: of each image's pixels of a class, in ascending order, only the first, the n+1st
        ... count. 5 in DASS's code.

    Returns:
      int32 [K, B], bins in ascending order of confidence. A count overflows at 2^31 pixels: for
        whole sets add up np.int64 on the host.
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
        # Kept are the ranks 0, n, 2n ...; up to the end of a bin that is ceil(cumulative count / n)
        # of them.
        kept = (jnp.cumsum(count(cells), 1) + keep_every - 1) // keep_every
        return jnp.diff(kept, axis=1, prepend=jnp.zeros((num_classes, 1), jnp.int32))

    return jax.lax.map(thinned, cells).sum(0)


def quantile_thresholds(histogram, *, proportion, cap):
    """SPCL's threshold of each class (pseudo_label.py, get_threshold; eq. 5 of the paper): min(cap,
    quantile of its confidences).

    Of n ascending confidences it is number round(proportion * n), from 0, halves to even: the
    maximum of three, number 2 of five.

    Args:
      histogram: int [K, B]; np.int64 for whole sets, or a jax array inside a train step (the
        paper's online thresholds).
      proportion: 0.5 in code and paper, the median. cap: 0.9 in both.

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


def top_thresholds(histogram, *, share, never=()):
    """DASS's threshold of each class (utils/func.py): the least confidence of the most confident
    `share` of its pixels.

    Of n ascending confidences it is v[-int(n * share)]; so with fewer than 1 / share pixels, v[-0],
    the least of all.

    Args:
      histogram: np.int64 [K, B], made with keep_every=5 as the code does.
      share: 0.1 in the code, which never lets it grow (thres_inc 0).
      never: classes with threshold 1, as the code has it for 9, 14 and 16 when the source is
        SYNTHIA. So have, by our choice, classes without pixels, on which the code fails.

    Returns:
      float32 [K].
    """
    counts = histogram.sum(1)
    taken = (counts.astype(np.float64) * share).astype(np.int64)
    value = _value_at(histogram, np.where(taken > 0, counts - taken, 0))
    return np.where((counts > 0) & ~np.isin(np.arange(len(counts)), never), value, np.float32(1.0))


def _value_at(histogram, rank):
    """float32 [K]: the lower end of the bin that holds the confidence of ascending rank [K]."""
    xp, num_bins = histogram.__array_namespace__(), histogram.shape[1]
    lower_ends = (1.0 - (1.0 - np.arange(num_bins) / num_bins) ** 2).astype(np.float32)
    passed = (xp.cumsum(histogram, axis=1) <= rank[:, None]).sum(1)  # bins that end before it
    return xp.asarray(lower_ends)[xp.minimum(passed, num_bins - 1)]


def score_histogram(scores, mask, *, lowest):
    """How many pixels have which best score, in the bins of `confidence_histogram`, narrow where
    scores are nearly 1.

    Args:
      scores: float32 [...], from `lowest` to 1: cosines (-1) or probabilities (0). mask: bool
        [...], pixels that count.

    Returns:
      int32 [NUM_BINS].
    """
    unit = ((scores - lowest) / (1.0 - lowest)).reshape(1, 1, -1)
    return confidence_histogram(
        unit, jnp.zeros(unit.shape, jnp.int32), mask.reshape(unit.shape), num_classes=1
    )[0]


def move_histogram(old, counts, *, decay):
    """`old`, shares that sum to 1 or all 0 before the first batch, moved towards the shares of a
    batch's `counts`; float32 [B].

    Without a pixel in the batch it stays.

    Args:
      decay: of the old shares; the first batch counts in full.
    """
    counts = counts.astype(jnp.float32)
    total = counts.sum()
    shares = counts / jnp.maximum(total, 1.0)
    moved = jnp.where(old.sum() > 0, decay * old + (1.0 - decay) * shares, shares)
    return jnp.where(total > 0, moved, old)


def share_threshold(histogram, *, share, lowest):
    """The score that a `share` of the pixels exceed: a float32 scalar, below the exact order
    statistic by less than its bin.

    Args:
      histogram: float32 [B], from `move_histogram`. share: above 0, below 1. lowest: as in
        `score_histogram`.
    """
    # beyond the rounding of sums of float32 shares
    rank = histogram.sum()[None] * (1.0 - share) + 2e-6
    unit = _value_at(histogram[None], rank)[0]
    return lowest + (1.0 - lowest) * unit


def confident_labels(probabilities, thresholds, *, strict=False):
    """The predicted class where it is confident enough, by SPCL's rule (pseudo_label.py, test).

    Args:
      probabilities: float32 [..., K]; float32 at least, since 16 bits cannot tell 0.9 from its
        neighbours.
      thresholds: float32 [K].
      strict: the paper, eq. 5: above its class's threshold. False: the code, at it or above.

    Returns:
      int32 [...].
    """
    best, predictions = probabilities.max(-1), jnp.argmax(probabilities, -1).astype(jnp.int32)
    threshold = jnp.take(thresholds, predictions)
    return jnp.where(best > threshold if strict else best >= threshold, predictions, IGNORED)


def static_labels(probabilities, thresholds, *, image_share):
    """BiCL's static labels as DASS's released code makes them (save_pred; the slides cite CBST, the
    procedure is CCM's).

    A pixel gets its predicted class where ANY class reaches its threshold, not only the predicted
    one, or where the pixel is among the `image_share` most confident of its image.

    Args:
      probabilities: float32 [N, H, W, K].
      thresholds: float32 [K], from top_thresholds.
      image_share: 0.1 in the code; 0 for none but the thresholds. Of k = int(image_share * pixels),
        those above the k-th pass.

    Returns:
      (int32 [N, H, W], bool [N, H, W] by threshold, bool [N, H, W] by rank in the image).
    """
    best, predictions = probabilities.max(-1), jnp.argmax(probabilities, -1).astype(jnp.int32)
    by_threshold = (probabilities >= thresholds.reshape(1, 1, 1, -1)).any(-1)
    num_pixels = best.shape[1] * best.shape[2]
    ascending = jnp.sort(best.reshape(best.shape[0], -1), axis=1)
    limit = ascending[:, min(num_pixels - int(image_share * num_pixels), num_pixels - 1)]
    by_rank = best > limit[:, None, None]
    return jnp.where(by_threshold | by_rank, predictions, IGNORED), by_threshold, by_rank


def dynamic_labels(scores, *, threshold):
    """BiCL's dynamic labels y_D: the class of the best score where that exceeds the threshold, else
    none.

    Args:
      scores: float32 [..., K]; the slides: cosines to the calibrated prototypes
        (prototypes.prototype_similarities with rho_S + domain_bias). The other choice is
        ops.prototypes.soft_assignment.
      threshold: T, or from `share_threshold`. The slides give no value. For cosines 0.55 is what
        golden dass_formula uses, not a recommendation; for probabilities at temperature 0.1 the
        code's abandoned branch means 0.8.

    Returns:
      int32 [...], a constant for gradients. On a cosine of absent classes, -1, no sensible
        threshold lets them win.
    """
    scores = jax.lax.stop_gradient(scores)
    return jnp.where(scores.max(-1) > threshold, jnp.argmax(scores, -1).astype(jnp.int32), IGNORED)


def hybrid_labels(dynamic, static, *, priority="dynamic"):
    """BiCL's labels y_T: where both kinds have a class, that of `priority`; where one has, its
    class.

    Args:
      dynamic, static: int32 [...] with 255 for none, of one shape.
      priority: "dynamic", the slides; "static", a third-party port of the code, which fills the
        gaps of the static label only.

    Raises:
      ValueError: unknown priority.
    """
    if priority not in ("dynamic", "static"):
        raise ValueError(f"unknown priority '{priority}'; known: dynamic, static")
    first, second = (dynamic, static) if priority == "dynamic" else (static, dynamic)
    return jnp.where(first != IGNORED, first, second)
