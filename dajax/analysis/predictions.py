"""What a classifier's predictions say: its failures, its surest and its least sure images."""

import numpy as np


def softmax(logits):
    """float [N, K] -> float64 [N, K], rows that sum to 1."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def worst_failures(probabilities, labels, count):
    """Images of a wrong class, the surest first: what a network is wrong about and does not doubt.

    Args:
      probabilities: float [N, K].
      labels: int [N], the true classes.
      count: how many at most.

    Returns:
      int64 [n], rows, by descending probability of the predicted class.
    """
    probabilities = np.asarray(probabilities)
    wrong = np.flatnonzero(probabilities.argmax(-1) != np.asarray(labels))
    order = np.argsort(-probabilities.max(-1)[wrong], kind="stable")
    return wrong[order][:count]


def by_confidence(probabilities, count):
    """The rows of the surest and of the least sure images: (int64 [n], int64 [n])."""
    order = np.argsort(-np.asarray(probabilities).max(-1), kind="stable")
    return order[:count], order[::-1][:count]
