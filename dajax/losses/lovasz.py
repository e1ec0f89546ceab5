"""Lovász-softmax, the convex surrogate of the mean intersection over union (Berman, Triki and
Blaschko, CVPR 2018).

Of class c the error of a pixel is e = |[y = c] - p_c|. With the errors in descending order, loss_c
= sum_r e_r (J_r - J_(r-1)), where J_r is the Jaccard loss of c if exactly the first r pixels were
wrong. The order, and so J, counts as constant: the gradient goes through e alone.

Here the increments J_r - J_(r-1) have a formula of their own: for half a million pixels, float32
would cancel their differences to nothing. With G pixels of the class, of which F are among the
first r, and B other pixels among the first r, a pixel of the class adds 1 / (G + B), and any other
pixel (G - F) / ((G + B - 1) (G + B)).
"""

import functools

import jax
import jax.numpy as jnp

from dajax.typing import Array, Bool, Float, Int

CLASSES = ("present", "all")


def lovasz_softmax(
    probabilities: Float[Array, "N H W K"],
    labels: Int[Array, "N H W"],
    valid: Bool[Array, "N H W"],
    *,
    classes: str = "present",
    per_image: bool = False,
) -> Float[Array, ""]:
    """Mean over classes of the Lovász extension of the Jaccard loss: lovasz_softmax of the authors'
    code, and of PLCA.

    It is a loss of the whole batch and does not split into pixels. With several devices, call it on
    what `parallel.gather` returns of all three arrays, and take `parallel.share` of the result. Of
    two pixels with the same error the one of the class comes first, then the earlier one.

    On a CPU the sorts, one a class, take nearly all of the time: 0.6 s for 730x730 pixels of 19
    classes on one core, where torch takes 1.4 s (benchmarks/lovasz_softmax.py, gradient included).
    One array of the size of the probabilities is kept for the gradient, and a second is temporary;
    all else takes some 40 bytes a pixel, since classes take turns.

    Args:
      probabilities: float [N, H, W, K], of a softmax; computed in float32.
      labels: int32 [N, H, W]; anything where not valid.
      valid: bool [N, H, W], see segmentation.valid_pixels.
      classes: "present": the mean is over classes that some valid pixel has; "all": over all K,
        where an absent class costs its largest probability.
      per_image: the mean of each image's own loss, over images with a valid pixel, instead of one
        loss of all pixels together.

    Returns:
      float32 scalar; 0 with zero gradient if no pixel is valid.

    Raises:
      ValueError: unknown `classes`, shapes that do not fit.
    """
    if classes not in CLASSES:
        raise ValueError(f"unknown classes '{classes}'; known: {', '.join(CLASSES)}")
    if not probabilities.shape[:-1] == labels.shape == valid.shape:
        raise ValueError(
            f"lovasz_softmax: probabilities {probabilities.shape}, labels {labels.shape} and valid"
            f" {valid.shape} must agree"
        )
    only_present = classes == "present"
    probabilities = probabilities.astype(jnp.float32)
    if not per_image:
        return _pooled(probabilities, labels, valid, only_present)
    has_valid = valid.any((1, 2)).astype(jnp.float32)  # [N]

    def of_image(image):
        return _pooled(*image, only_present)

    losses = jax.lax.map(of_image, (probabilities, labels, valid))  # [N]
    return (losses * has_valid).sum() / jnp.maximum(has_valid.sum(), 1.0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _pooled(probabilities, labels, valid, only_present):
    """The loss of all pixels [..., K] together."""
    return _forward(probabilities, labels, valid, only_present)[0]


def _forward(probabilities, labels, valid, only_present):
    """The loss, and its gradient with respect to the probabilities: one sort serves both."""
    num_classes = probabilities.shape[-1]
    labels, valid = labels.ravel(), valid.ravel()

    def of_class(args):
        k, probability = args
        is_class = (labels == k) & valid
        count = is_class.sum(dtype=jnp.float32)
        errors = jnp.where(valid, jnp.where(is_class, 1.0 - probability, probability), 0.0)
        loss, increments = _loss_and_increments(errors, is_class, count)
        weight = jnp.where(count > 0, 1.0, 0.0) if only_present else jnp.ones(())
        slope = weight * jnp.where(is_class, -increments, jnp.where(valid, increments, 0.0))
        return weight * loss, slope, weight

    by_class = jnp.moveaxis(probabilities, -1, 0).reshape(num_classes, -1)  # [K, P]
    # [K], [K, P], [K]
    losses, slopes, weights = jax.lax.map(
        of_class, (jnp.arange(num_classes, dtype=labels.dtype), by_class)
    )
    scale = 1.0 / jnp.maximum(weights.sum(), 1.0)
    slopes = jnp.moveaxis((scale * slopes).reshape(num_classes, *probabilities.shape[:-1]), 0, -1)
    return scale * losses.sum(), slopes


def _backward(only_present, slopes, cotangent):
    return cotangent * slopes, None, None


_pooled.defvjp(_forward, _backward)


def _loss_and_increments(errors, is_class, count):
    """One class: its loss, and every pixel's increment in the order of the pixels.

    Args:
      errors: float32 [P] >= 0, and 0 for void pixels, which thereby come last with an increment of
        0.
      is_class: bool [P].
      count: float32, the number of pixels of the class (G).

    Returns:
      (float32 scalar, float32 [P]).
    """
    sorted_errors, sorted_is_class, pixels = _sort_descending(errors, is_class)
    others = jnp.cumsum(1.0 - sorted_is_class)  # B; exact in float32 up to 2^24 pixels
    union = count + others
    hits_left = count - (jnp.arange(1.0, errors.size + 1.0) - others)  # G - F
    sorted_increments = jnp.where(
        sorted_is_class > 0, 1.0, hits_left / jnp.maximum(union - 1.0, 1.0)
    ) / jnp.maximum(union, 1.0)
    # An absent class: J jumps to 1 at the first pixel and stays.
    sorted_increments = jnp.where(
        count > 0, sorted_increments, jnp.where(jnp.arange(errors.size) == 0, 1.0, 0.0)
    )
    increments = (
        jnp.zeros_like(errors)
        .at[pixels]
        .set(sorted_increments, unique_indices=True, mode="promise_in_bounds")
    )
    return (sorted_errors * sorted_increments).sum(), increments


def _sort_descending(errors, is_class):
    """Sorts pixels by descending error: their errors [P], whether each is of the class, as float32
    [P], and their numbers [P].

    Each pixel is one 64-bit integer. Its high half holds the bits of the error, which ascend with
    it for floats >= 0; the sign's bit is free then, and holds is_class. Its low half holds the
    pixel's number. XLA's CPU sort takes 30 ms for 730x730 plain integers, and 120 ms and more for
    floats or (key, index) pairs, for which it calls a comparison function. Integers of 64 bits
    exist in this function only.
    """
    keys = (jax.lax.bitcast_convert_type(errors, jnp.uint32) << 1) | is_class.astype(jnp.uint32)
    pixels = jax.lax.iota(jnp.uint32, errors.size)
    with jax.enable_x64(True):
        packed = (
            jax.lax.convert_element_type(~keys, jnp.uint64) << jnp.uint64(32)
        ) | jax.lax.convert_element_type(pixels, jnp.uint64)
        packed = jax.lax.sort(packed)  # the inverted keys, ascending
        keys = ~jax.lax.convert_element_type(packed >> jnp.uint64(32), jnp.uint32)
        pixels = jax.lax.convert_element_type(packed, jnp.uint32)
    return (
        jax.lax.bitcast_convert_type(keys >> 1, jnp.float32),
        (keys & 1).astype(jnp.float32),
        pixels,
    )
