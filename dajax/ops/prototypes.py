"""Class prototypes: the mean feature of every class's pixels, of a batch or a whole set, or as a
moving average.

All means are kept as (sums, counts) until the end. Sums and counts add up over images, batches and
devices (`parallel.total`); means do not. SPCL's released code has different prototypes on every
GPU, since it does not sum over devices.
"""

import jax
import jax.numpy as jnp

from dajax.ops.labels import IGNORED
from dajax.ops.similarity import as_float, normalize
from dajax.typing import Array, Bool, Float, Int

ABSENT_SIMILARITY = -1.0  # the least cosine: DASS, damnet_trainer.py (metric_loss)

SumsAndCounts = tuple[Float[Array, "K D"], Float[Array, " K"]]
Totals = tuple[Float[Array, "K D"], Float[Array, " K"], Float[Array, "K D"]]


def sums_and_counts(
    features: Float[Array, "*pixels D"],
    labels: Int[Array, "*pixels"],
    mask: Bool[Array, "*pixels"],
    num_classes: int,
) -> SumsAndCounts:
    """Sum of features and number of pixels of every class; differentiable in the features.

    A batch's prototypes on several devices are `class_means(*total(sums_and_counts(...),
    axis_name))`.

    Args:
      features: float [..., D]. SPCL scales them to length 1 first (ops.similarity.normalize); BiCL
        takes them as they are.
      labels: int [...]; 255, and any number outside 0..K-1, counts nowhere.
      mask: bool [...], pixels that may count.
      num_classes: K.

    Returns:
      (float32 [K, D], float32 [K]; exact up to 2^24 pixels a class).

    Raises:
      ValueError: shapes that do not fit together.
    """
    if not features.shape[:-1] == labels.shape == mask.shape:
        raise ValueError(
            f"sums_and_counts: features {features.shape}, labels {labels.shape} and mask"
            f" {mask.shape} do not fit together"
        )
    rows = as_float(features).reshape(-1, features.shape[-1])  # [P, D]
    # [P, K]; 255: a row of zeros
    members = jax.nn.one_hot(
        jnp.where(mask, labels, IGNORED).reshape(-1), num_classes, dtype=rows.dtype
    )
    sums = jax.lax.dot_general(
        members, rows, (((0,), (0,)), ((), ())), precision=jax.lax.Precision.HIGHEST
    )
    return sums, members.sum(0)


def per_image_sums_and_counts(
    features: Float[Array, "N h w D"],
    labels: Int[Array, "N h w"],
    mask: Bool[Array, "N h w"],
    num_classes: int,
) -> tuple[Float[Array, "N K D"], Float[Array, "N K"]]:
    """`sums_and_counts` of every image: features [N, h, w, D] -> (float32 [N, K, D], float32 [N,
    K]).
    """
    return jax.vmap(lambda *image: sums_and_counts(*image, num_classes))(features, labels, mask)


def image_mean_sums(
    features: Float[Array, "N h w D"],
    labels: Int[Array, "N h w"],
    mask: Bool[Array, "N h w"],
    num_classes: int,
) -> SumsAndCounts:
    """Sum over images of each image's mean feature of a class, and the number of images that have
    the class.

    It replaces `sums_and_counts` where every image shall count alike, a distant car as much as a
    near one. SPCL's code makes its first prototypes so (semantic_prototype.py), over the images
    that have the class; eq. 2 of the paper divides by the number of all images.

    Args:
      features: float [N, h, w, D].
      labels, mask: int and bool [N, h, w].
      num_classes: K.

    Returns:
      (float32 [K, D], float32 [K]).
    """
    # [N, K, D], [N, K]
    means, present = jax.vmap(class_means)(
        *per_image_sums_and_counts(features, labels, mask, num_classes)
    )
    return means.sum(0), present.astype(means.dtype).sum(0)


def empty_totals(num_classes: int, width: int) -> Totals:
    """The carry that `add` begins with, for K classes and features of width D: float32 [K, D],
    float32 [K], float32 [K, D].
    """
    zeros = jnp.zeros((num_classes, width), jnp.float32)
    return zeros, jnp.zeros((num_classes,), jnp.float32), zeros


def add(carry: Totals, part: SumsAndCounts) -> Totals:
    """The carry with one batch more: prototypes of a whole set in constant memory.

        carry = empty_totals(K, D)
        for batch in batches:
            carry = add(carry, total(image_mean_sums(features, labels, mask, K), axis_name))
        prototypes, known = class_means(*carry[:2])

    Rounding errors do not add up: the part that an addition cuts off is kept and added to the next
    (Kahan), so that 25,000 additions have the error of one.

    Args:
      carry: from `empty_totals` or `add`.
      part: (sums, counts) of the batch, over all devices; from `sums_and_counts` or
        `image_mean_sums`.
    """
    sums, counts, lost = carry
    corrected = part[0] - lost
    new_sums = sums + corrected
    return new_sums, counts + part[1], (new_sums - sums) - corrected


def class_means(
    sums: Float[Array, "K D"], counts: Float[Array, " K"]
) -> tuple[Float[Array, "K D"], Bool[Array, " K"]]:
    """Prototypes float32 [K, D], zeros for a class without pixels, and bool [K], whether it has
    any. Gradients are always finite.
    """
    return sums / jnp.maximum(counts, 1.0)[:, None], counts > 0


def move(
    prototypes: Float[Array, "K D"],
    known: Bool[Array, " K"],
    batch_prototypes: Float[Array, "K D"],
    present: Bool[Array, " K"],
    *,
    decay: float,
    shrink_absent: bool = False,
) -> tuple[Float[Array, "K D"], Bool[Array, " K"]]:
    """The moving average mu <- decay * mu + (1 - decay) * rho; no gradient flows through it.

    Args:
      prototypes, known: float32 [K, D] and bool [K], mu and the classes that have one. The others
        take rho when they first appear.
      batch_prototypes, present: float32 [K, D] and bool [K], rho, from `class_means`. An absent
        class keeps its mu.
      decay: weight of the OLD value. It is alpha in SPCL's eq. 3, which is 0.1, so that a step
        replaces nine tenths; and lambda in BiCL.
      shrink_absent: as SPCL's released code, which multiplies the mu of absent classes by `decay`:
        after three steps a thousandth is left.

    Returns:
      (float32 [K, D], bool [K]).
    """
    prototypes, batch_prototypes = jax.lax.stop_gradient((prototypes, batch_prototypes))
    moved = jnp.where(
        known[:, None], decay * prototypes + (1.0 - decay) * batch_prototypes, batch_prototypes
    )
    absent = decay * prototypes if shrink_absent else prototypes
    return jnp.where(present[:, None], moved, absent), known | present


def domain_bias(
    source_prototypes: Float[Array, "K D"],
    source_known: Bool[Array, " K"],
    target_prototypes: Float[Array, "K D"],
    target_known: Bool[Array, " K"],
) -> Float[Array, "K D"]:
    """xi = mu_T - mu_S, the target's bias of each class in BiCL: float32 [K, D], 0 where a class
    lacks either mu (our choice).

    `rho_S + xi` are the calibrated prototypes rho_(S->T). The slides do not say which mu. Take
    those of the iterations BEFORE this one (our choice; golden dass_formula): this iteration's mu_T
    depends on labels that are made with xi.
    """
    both = source_known & target_known
    return jax.lax.stop_gradient(
        jnp.where(both[:, None], target_prototypes - source_prototypes, 0.0)
    )


def keep_correct(
    labels: Int[Array, "N h w"], logits: Float[Array, "N h w K"]
) -> Int[Array, "N h w"]:
    """Labels with 255 wherever the prediction is another class: int32 [N, h, w].

    SPCL's released code makes its source prototypes, and its source loss, of correctly predicted
    pixels only; the paper says of all pixels.

    Args:
      labels: int32 [N, h, w], on the grid of the logits.
      logits: float [N, h, w, K].
    """
    return jnp.where(jnp.argmax(logits, -1).astype(labels.dtype) == labels, labels, IGNORED)


def soft_assignment(
    features: Float[Array, "*pixels D"],
    prototypes: Float[Array, "K D"],
    *,
    temperature: float,
    present: Bool[Array, " K"] | None = None,
    normalize_prototypes: bool,
) -> Float[Array, "*pixels K"]:
    """Probability that a pixel belongs to each prototype: softmax of the similarities over the
    temperature, float32 [..., K].

    A zero feature has the same probability for every present class. Arguments as in
    prototype_similarities.
    """
    similarities = prototype_similarities(
        features, prototypes, present=present, normalize_prototypes=normalize_prototypes
    )
    return jax.nn.softmax(similarities / temperature)


def prototype_similarities(
    features: Float[Array, "*pixels D"],
    prototypes: Float[Array, "K D"],
    *,
    present: Bool[Array, " K"] | None = None,
    normalize_prototypes: bool,
) -> Float[Array, "*pixels K"]:
    """Similarity of every pixel to every prototype, in float32.

    Args:
      features: float [..., D], scaled to length 1 here; a zero vector has similarity 0 to every
        prototype, and zero gradient.
      prototypes: float [K, D].
      present: bool [K], the classes that have a prototype: the others get ABSENT_SIMILARITY and no
        gradient. None: all have one.
      normalize_prototypes: True: the cosine (BiCL, SDCA). False: prototypes as they are, as in
        SPCL's code, where they are means of unit vectors.

    Returns:
      float32 [..., K].

    Raises:
      ValueError: features and prototypes of different width.
    """
    if prototypes.ndim != 2 or features.shape[-1] != prototypes.shape[1]:
        raise ValueError(
            f"prototype_similarities: features {features.shape} and prototypes {prototypes.shape};"
            " expected [..., D] and [K, D]"
        )
    prototypes = as_float(prototypes)
    prototypes = normalize(prototypes) if normalize_prototypes else prototypes
    similarities = jnp.einsum(
        "...d,kd->...k",
        normalize(as_float(features)),
        prototypes,
        precision=jax.lax.Precision.HIGHEST,
    )
    if present is None:
        return similarities
    return jnp.where(
        present.reshape((1,) * (similarities.ndim - 1) + (-1,)), similarities, ABSENT_SIMILARITY
    )
