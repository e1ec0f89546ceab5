"""SHOT's pseudo-labels (Liang et al., ICML 2020; tim-learn/SHOT, f7d555a, obtain_label): the class
of the nearest of centroids that the network's own predictions make.
"""

import jax
import jax.numpy as jnp

from dajax.ops.clustering import normalize
from dajax.typing import Array, Float, Int

DISTANCES = ("cosine", "euclidean")
_MASS_FLOOR = 1e-8


def centroid_labels(
    features: Float[Array, "N D"],
    logits: Float[Array, "N K"],
    *,
    distance: str,
    min_images: int,
) -> Int[Array, " N"]:
    """Two rounds: centroids weighted by the probabilities, then by the labels of the first.

    A class takes part where more than `min_images` images are predicted as it: by the largest
    probability in the first round, by the first round's labels in the second.

    Args:
      features: float32 [N, D] and logits: float32 [N, K] of all target images.
      distance: "cosine", of [f, 1] scaled to length 1; or "euclidean", of f.
      min_images: 0 leaves out classes that nothing is predicted as.

    Returns:
      int32 [N].
    """
    rows = features
    if distance == "cosine":
        rows = normalize(jnp.concatenate([rows, jnp.ones_like(rows[:, :1])], 1))
    weights, labels = jax.nn.softmax(logits), jnp.argmax(logits, -1)
    for _ in range(2):
        is_used = jax.nn.one_hot(labels, logits.shape[1]).sum(0) > min_images  # [K]
        sums = jnp.matmul(weights.T, rows, precision="highest")  # [K, D]
        centers = sums / (_MASS_FLOOR + weights.sum(0))[:, None]
        labels = jnp.argmin(
            jnp.where(is_used[None], _distances(rows, centers, distance), jnp.inf), 1
        )
        weights = jax.nn.one_hot(labels, logits.shape[1])
    return labels.astype(jnp.int32)


def _distances(rows, centers, distance):
    """float32 [N, K], in the order of the distances: of a row the constant that all have is left
    out.
    """
    towards = normalize(centers) if distance == "cosine" else centers
    products = jnp.matmul(rows, towards.T, precision="highest")
    if distance == "cosine":
        return -products
    return jnp.square(centers).sum(1)[None] - 2.0 * products
