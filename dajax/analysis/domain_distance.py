"""How far two domains are apart in a network's features."""

import numpy as np
from scipy import optimize

# Of the squared weights, per row: small beside a logistic loss of at most log 2 where the domains
# are alike, large enough that separable ones have a finite solution. Ours.
_WEIGHT_DECAY = 1e-3
MIN_ROWS = 10  # of each domain: a held-out half of five; fewer say nothing. Ours.


def cluster_center_distance(source, target):
    """CLAN's distance of the two domains' centers of each class (figures 4 and 6): ||mu_S(c) -
    mu_T(c)||.

    CLAN's authors released no code of it, and the text leaves open what is done to the features
    (CLAN issue 26). Take those of length 1 where networks are compared, since a network may scale
    its features at will.

    Args:
      source, target: moments of ops.class_center_distance.class_moments, of features with true
        classes.

    Returns:
      float64 [K]; NaN for a class that one of the domains lacks.
    """
    counts = [np.asarray(moments[0], np.float64) for moments in (source, target)]
    means = [
        np.asarray(moments[1], np.float64) / np.maximum(count, 1.0)[:, None]
        for moments, count in zip((source, target), counts, strict=True)
    ]
    distances = np.linalg.norm(means[0] - means[1], axis=1)
    return np.where((counts[0] > 0) & (counts[1] > 0), distances, np.nan)


def proxy_a_distance(source, target, *, seed):
    """The proxy A-distance 2 (1 - 2 err) of Ben-David et al. (Machine Learning 2010; the "proxy" of
    NIPS 2006), err the error of a linear classifier that tells the domains apart, on the half of
    each domain that it was not trained on.

    2: the domains are linearly separable. 0: they cannot be told apart. A little below 0 is chance.
    The classifier is a logistic regression on standardised features; both domains weigh the same,
    however many images they have.

    Args:
      source, target: float [N, D] and [M, D], at least MIN_ROWS rows each.
      seed: int, of the halves.

    Returns:
      float in [-2, 2].

    Raises:
      ValueError: too few rows, or features that are not finite.
    """
    domains = [np.asarray(rows, np.float64) for rows in (source, target)]
    if min(map(len, domains)) < MIN_ROWS:
        raise ValueError(f"A-distance of {len(source)} and {len(target)} rows: needs {MIN_ROWS}")
    if not all(np.isfinite(rows).all() for rows in domains):
        raise ValueError("A-distance of features that are not finite")
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(rows) for rows in domains]
    training = [rows[: len(rows) // 2] for rows in shuffled]
    held_out = [rows[len(rows) // 2 :] for rows in shuffled]
    mean = np.concatenate(training).mean(0)
    scale = np.concatenate(training).std(0)
    scale = np.where(scale > 1e-12, scale, 1.0)  # a constant feature says nothing

    def standardised(rows):
        return (rows - mean) / scale

    weights, bias = _logistic_regression(*map(standardised, training))
    scores = [standardised(rows) @ weights + bias for rows in held_out]
    # on the fence counts half
    errors = [
        np.mean(sign * score < 0) + 0.5 * np.mean(score == 0)
        for sign, score in zip((-1.0, 1.0), scores, strict=True)
    ]
    return float(2 * (1 - 2 * np.mean(errors)))


def _logistic_regression(negative, positive):
    """(weights float64 [D], bias) of the classifier whose score is above 0 for `positive`."""
    rows = np.concatenate([-negative, positive])
    signs = np.repeat([-1.0, 1.0], [len(negative), len(positive)])
    shares = np.repeat([0.5 / len(negative), 0.5 / len(positive)], [len(negative), len(positive)])

    def loss(parameters):
        weights, bias = parameters[:-1], parameters[-1]
        margins = rows @ weights + signs * bias
        pull = -shares / (1 + np.exp(np.clip(margins, -500, 500)))
        value = shares @ np.logaddexp(0, -margins) + 0.5 * _WEIGHT_DECAY * weights @ weights
        return value, np.append(rows.T @ pull + _WEIGHT_DECAY * weights, signs @ pull)

    start = np.zeros(rows.shape[1] + 1)
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return found.x[:-1], found.x[-1]
