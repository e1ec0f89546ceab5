"""t-SNE (van der Maaten and Hinton, 2008) of features: the pictures of figure 3 of CLAN and figure
4 of SPCL, for which neither has released code.

SPCL's author names sklearn's TSNE(n_components=2, init="pca", random_state=0) (SPCL issue 1). Here
features are scaled to length 1 first, so that their distances order as cosines do, which is what
CAN, SPCL and PLCA compare features by.
"""

import numpy as np

from dajax.analysis import optional

MIN_POINTS = 5
MAX_POINTS = 5000  # ours: half a minute on two cores, and no picture shows more dots apart
# Principal components that t-SNE begins with: 30 in the paper (section 4.2), 50 in the authors'
# code and sklearn's documentation.
COMPONENTS = 50
_EXACT = 200  # points up to which the approximation of distant ones saves no time, ours
PERPLEXITY = 30.0  # the authors' default and sklearn's


def tsne(features, *, seed):
    """Points in the plane, near each other where their features have large cosines.

    Args:
      features: float [N, D], MIN_POINTS to MAX_POINTS rows.
      seed: int; the same seed and features give the same points.

    Returns:
      float32 [N, 2].

    Raises:
      ValueError: too few or too many rows, or features that are not finite.
      UserError: scikit-learn is not installed.
    """
    rows = np.asarray(features, np.float64)
    if rows.ndim != 2 or not MIN_POINTS <= len(rows) <= MAX_POINTS:
        raise ValueError(
            f"t-SNE of features {rows.shape}: expected [N, D] with N from {MIN_POINTS} to"
            f" {MAX_POINTS}"
        )
    if not np.isfinite(rows).all():
        raise ValueError("t-SNE of features that are not finite")
    manifold = optional.load("sklearn.manifold")
    components = principal_components(unit_rows(rows), COMPONENTS)
    # a coordinate without spread is divided by it in sklearn's "pca"
    has_plane = components.shape[1] >= 2 and components[:, :2].std(0).min() > 1e-9
    made = manifold.TSNE(
        n_components=2,
        init=components[:, :2] / components[:, 0].std() * 1e-4 if has_plane else "random",
        perplexity=min(PERPLEXITY, (len(rows) - 1) / 3),
        method="exact" if len(rows) <= _EXACT else "barnes_hut",
        random_state=seed,
    )
    return made.fit_transform(components).astype(np.float32)


def unit_rows(rows):
    """Rows of float [N, D] scaled to length 1, float64; a zero row stays zero."""
    rows = np.asarray(rows, np.float64)
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def principal_components(rows, count):
    """The coordinates of float [N, D] along the axes of most variance: float64 [N, min(count, N,
    D)]. The sign of an axis makes its largest entry positive, so that it does not depend on the
    solver.
    """
    centered = rows - rows.mean(0)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    axes = axes[:count]
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(1)]
    return centered @ (axes * np.where(largest < 0, -1.0, 1.0)[:, None]).T
