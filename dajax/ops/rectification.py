"""ProDA's pseudo-labels: soft labels corrected by how near a pixel's feature is to each class's
prototype (Zhang, Zhang, Zhang, Chen, Wang, Wen, CVPR 2021; models/adaptation_modelv2.py).
"""

import jax
import jax.numpy as jnp

from dajax.ops.labels import IGNORED
from dajax.ops.similarity import as_float
from dajax.typing import Array, Bool, Float, Int

_SMALLEST = 1e-12  # of a squared distance: its root has a finite gradient


def prototype_distances(
    features: Float[Array, "N h w D"], prototypes: Float[Array, "K D"]
) -> Float[Array, "N h w K"]:
    """|f - P_k| of every pixel, float32 [N, h, w, K] (feat_prototype_distance).

    Args:
      features: float [N, h, w, D].
      prototypes: float32 [K, D].
    """
    features = as_float(features)
    products = jnp.einsum(
        "nhwd,kd->nhwk", features, prototypes, precision=jax.lax.Precision.HIGHEST
    )
    squares = jnp.square(features).sum(-1, keepdims=True) - 2.0 * products
    squares = squares + jnp.square(prototypes).sum(-1).reshape(1, 1, 1, -1)
    return jnp.sqrt(jnp.maximum(squares, _SMALLEST))


def log_assignment(
    distances: Float[Array, "N h w K"], known: Bool[Array, " K"], *, temperature: float
) -> Float[Array, "N h w K"]:
    """log softmax_k(-|f - P_k| / temperature), float32 [N, h, w, K] (get_prototype_weight).

    Args:
      distances: of `prototype_distances`.
      known: bool [K], classes that have a prototype: the others have a probability of nearly 0. Of
        none all are alike.
      temperature: tau, 1 in the code.
    """
    scores = jnp.where(known.reshape(1, 1, 1, -1), -distances / temperature, -1e9)
    return jax.nn.log_softmax(scores)


def rectified_labels(
    log_weights: Float[Array, "N h w K"], soft: Float[Array, "N h w K"], *, threshold: float
) -> Int[Array, "N h w"]:
    """The class with the greatest weight times probability, int32 [N, h, w] (eq. 4 of the paper).

    Args:
      log_weights: of `log_assignment`.
      soft: float32 [N, h, w, K], class probabilities of the network before.
      threshold: labels whose product, as a share of all classes', is below it are 255; 0 in the
        code's command.
    """
    products = jnp.exp(log_weights) * soft
    shares = products / jnp.maximum(products.sum(-1, keepdims=True), 1e-30)
    labels = jnp.argmax(products, -1).astype(jnp.int32)
    return jnp.where(shares.max(-1) < threshold, IGNORED, labels)


def assignment_divergence_map(
    teacher: Float[Array, "N h w K"], student: Float[Array, "N h w K"]
) -> Float[Array, "N h w"]:
    """The mean over classes of eta_t (log eta_t - log eta_s), float32 [N, h, w]: F.kl_div of the
    code, divided by pixels times classes.

    Args:
      teacher, student: log_assignment of both.
    """
    return (jnp.exp(teacher) * (teacher - student)).mean(-1)


def move_by_images(
    prototypes: Float[Array, "K D"],
    known: Bool[Array, " K"],
    means: Float[Array, "N K D"],
    present: Bool[Array, "N K"],
    *,
    decay: float,
) -> tuple[Float[Array, "K D"], Bool[Array, " K"]]:
    """P <- decay P + (1 - decay) v for the mean feature v of each image after the other
    (update_objective_SingleVector); a class without a prototype takes its first v.

    Args:
      prototypes, known: float32 [K, D] and bool [K].
      means, present: float32 [N, K, D] and bool [N, K], of the images that have enough pixels of a
        class.
      decay: 0.9999 in the code.
    """

    def one(carry, image):
        prototypes, known = carry
        mean, is_there = image
        moved = prototypes + (1.0 - decay) * (mean - prototypes)
        moved = jnp.where(known[:, None], moved, mean)
        return (jnp.where(is_there[:, None], moved, prototypes), known | is_there), None

    return jax.lax.scan(one, (prototypes, known), (means, present))[0]
