"""Which images and which pixels an analysis looks at: as many as asked, the same for one seed."""

import numpy as np


def some_rows(count, wanted, *, seed):
    """Rows of a set, drawn without replacement.

    Args:
      count: N, of the set.
      wanted: how many; all where the set has fewer.
      seed: int; the same seed draws the same rows.

    Returns:
      int64 [min(wanted, N)], ascending.
    """
    return np.sort(np.random.default_rng(seed).permutation(count)[:wanted])


def stratified_rows(labels, wanted, *, num_classes, seed):
    """Rows with as even a share of each class as there are rows for: what a rare class lacks, the
    others get.

    Args:
      labels: int [N]; a label outside 0..K-1 is not drawn.
      wanted: how many rows.
      num_classes: K.
      seed: int; the same seed draws the same rows.

    Returns:
      int64 [n], ascending, n at most `wanted`.
    """
    labels, rng = np.asarray(labels).reshape(-1), np.random.default_rng(seed)
    rows_of = [np.flatnonzero(labels == k) for k in range(num_classes)]
    # the rarest first: what it leaves goes to those after it
    order = sorted((rows for rows in rows_of if len(rows)), key=len)
    drawn, left = [np.zeros(0, np.int64)], wanted
    for i, rows in enumerate(order):
        share = min(left // (len(order) - i), len(rows))
        drawn.append(rng.permutation(rows)[:share])
        left -= share
    return np.sort(np.concatenate(drawn))
