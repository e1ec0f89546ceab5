"""Class center distance (SPCL, eq. 10 and figure 5): how tight the classes are in a network's
features, relative to the distances between their centers.

No code of it was released, and users of FADA, which introduced it, could not derive it from the
text (FADA issues 4 and 22). A common factor of all features does not change it, but scaling each
feature to length 1 does: say with every figure whether that was done (the paper does not).
It is computed by numpy in float64, since it is a difference of two large sums.
"""

import numpy as np

from dajax.typing import AnyArray, Float, Integer

# Number of pixels, sum of features, sum of squared lengths, of each class.
Moments = tuple[Float[np.ndarray, " K"], Float[np.ndarray, "K D"], Float[np.ndarray, " K"]]


def class_moments(
    features: Float[AnyArray, "*pixels D"], labels: Integer[AnyArray, "*pixels"], num_classes: int
) -> Moments:
    """The sums over pixels that `class_center_distance` needs. The moments of a set are the sums of
    the moments of its parts:

        parts = (class_moments(trained.features(images), labels, 19) for images, labels in batches)
        moments = tuple(map(sum, zip(*parts)))

    Args:
      features: float [..., D].
      labels: int [...], down-sampled to the features' grid by nearest neighbour; a label outside
        0..K-1 counts nowhere.
      num_classes: K.

    Returns:
      (pixels float64 [K], sums of features float64 [K, D], sums of squared lengths float64 [K]).

    Raises:
      ValueError: features and labels of different shapes.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    if features.shape[:-1] != labels.shape:
        raise ValueError(
            f"class_moments: labels {labels.shape} do not fit features {features.shape}"
        )
    rows, labels = features.reshape(-1, features.shape[-1]).astype(np.float64), labels.reshape(-1)
    members = labels == np.arange(num_classes)[:, None]  # [K, P]
    return members.sum(1).astype(np.float64), members @ rows, members @ (rows**2).sum(1)


def class_center_distance(
    moments: Moments, centers: Float[AnyArray, "K D"] | None = None
) -> Float[np.ndarray, " K"]:
    """Mean squared distance of a class's features to its center, over the squared distance to
    another's, averaged over the others.

        CCD(c) = 1 / (C - 1) sum_{k != c} [mean over x in c of ||x - mu_c||^2] / ||mu_c - mu_k||^2

    Args:
      moments: from `class_moments`. Figure 5 takes mu over source and target together (FADA issue
        4): add up the moments of both.
      centers: float [K, D], mu; the means of the features by default. SPCL's text says "semantic
        prototypes", which its stage keeps.

    Returns:
      float64 [K], smaller is tighter; NaN for a class without a pixel, which is not among the
        others of any class either.
    """
    pixels, sums, squares = (np.asarray(moment, np.float64) for moment in moments)
    present = pixels > 0
    means = sums / np.maximum(pixels, 1.0)[:, None]
    centers = means if centers is None else np.asarray(centers, np.float64)
    # mean ||x - mu||^2 = mean ||x||^2 - 2 mean x . mu + ||mu||^2
    scatter = squares / np.maximum(pixels, 1.0) - 2 * (means * centers).sum(1) + (centers**2).sum(1)
    between = ((centers[:, None] - centers) ** 2).sum(-1)
    others = present & ~np.eye(len(present), dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(others, scatter[:, None] / between, 0.0).sum(1) / others.sum(1)
    return np.where(present, ratios, np.nan)
