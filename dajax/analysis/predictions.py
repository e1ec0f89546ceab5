"""What a classifier's predictions say: its failures, and the images that it doubts."""

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


def least_sure(probabilities, count):
    """The rows of the images with the lowest probability of their class, int64 [n], ascending."""
    return np.argsort(np.asarray(probabilities).max(-1), kind="stable")[:count]
