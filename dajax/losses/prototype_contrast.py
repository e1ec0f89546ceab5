"""Contrast of pixels against class prototypes: the cross-entropy of a pixel's similarities to all
of them.

    l(u, c) = -log softmax_k(s(u, mu_k) / temperature)[c]

SPCL (Xie et al.), eq. 4 and 6: s is the dot product of the pixel's feature, scaled to length 1,
with the prototype as it is. Prototypes are constants. The released temperature is 100, at which the
loss stays within 0.4 % of ln K for any prototypes: judge it by its gradients, not by its value.

BiCL (Lee et al., ECCV 2022): s is the cosine. Forward contrast compares target pixels with source
prototypes, backward contrast source pixels with target prototypes.

The loss is a mean over pixels, not over classes: a small class counts by its number of pixels.
"""

import jax
import jax.numpy as jnp

from dajax.losses.segmentation import cross_entropy_map
from dajax.ops.labels import IGNORED
from dajax.ops.prototypes import prototype_similarities
from dajax.typing import Array, Bool, Float, Int


def prototype_contrast(
    features: Float[Array, "N h w D"],
    prototypes: Float[Array, "K D"],
    labels: Int[Array, "N h w"],
    *,
    temperature: float,
    present: Bool[Array, " K"] | None = None,
    normalize_prototypes: bool,
) -> tuple[Float[Array, "N h w"], Bool[Array, "N h w"]]:
    """The contrast of every pixel; the loss is its mean over `valid`, for each domain on its own
    (`parallel.masked_mean`).

    Gradients reach the features and the prototypes: apply `stop_gradient` to what shall be
    constant, as SPCL's prototypes are.

    Args:
      features: float [N, h, w, D].
      prototypes, present, normalize_prototypes: see prototype_similarities. Absent classes stay in
        the softmax with the least similarity.
      labels: int32 [N, h, w], on the grid of the features (ops.resize.resize_nearest_legacy); 255
        or negative: ignored.
      temperature: tau; 100 in SPCL's code, 0.1 in DASS's.

    Returns:
      (float32 [N, h, w], 0 where not valid; bool [N, h, w], valid: pixels with a class that has a
        prototype).
    """
    similarities = prototype_similarities(
        features, prototypes, present=present, normalize_prototypes=normalize_prototypes
    )
    return _contrast(similarities, labels, present, temperature)


def overlap_contrast(
    similarities: Float[Array, "N H W K"],
    labels: Int[Array, "N H W"],
    overlap: Bool[Array, "N K"],
    *,
    temperature: float,
) -> tuple[Float[Array, " N"], Bool[Array, " N"]]:
    """The contrast of DASS's released code (damnet_trainer.py, metric_loss): one value for each
    pair of images.

    It is the mean over those pixels of an image whose class both images of the pair have. The code
    first brings the similarities to the size of the label (resize_nearest_legacy), so that every
    pixel of the label weighs the same. Take the mean over pairs where `has_pixels`: a pair without
    a common class counts nowhere (the code's loss is NaN then).

    Args:
      similarities: float32 [N, H, W, K], from prototype_similarities, with the prototypes of the
        other image of the pair; resized.
      labels: int32 [N, H, W]; 255 or negative: ignored.
      overlap: bool [N, K], the classes that both images have at the size of the features.
      temperature: 0.1 in the code.

    Returns:
      (float32 [N], 0 without pixels; bool [N], has_pixels).
    """
    values, valid = jax.vmap(
        lambda *image: _contrast(*(x[None] for x in image[:2]), image[2], temperature)
    )(similarities, labels, overlap)
    counts = valid.sum((1, 2, 3), dtype=jnp.float32)  # [N]
    return values.sum((1, 2, 3)) / jnp.maximum(counts, 1.0), counts > 0


def _contrast(similarities, labels, counted, temperature):
    """The contrast [N, h, w], and whether the pixel's class is one of `counted`, bool [K]; None:
    all classes.
    """
    valid = (labels >= 0) & (labels != IGNORED)
    if counted is not None:
        valid &= jnp.take(counted, jnp.where(valid, labels, 0))
    return cross_entropy_map(similarities / temperature, jnp.where(valid, labels, IGNORED)), valid
