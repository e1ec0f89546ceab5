"""Losses of a segmenter's own predictions, which methods minimise where there are no labels:
entropy (DASS, damnet_trainer.py), its information map (ADVENT), robust entropy (FDA) and maximum
squares with image-wise weights (MaxSquare).

They are not reduced over pixels: take `parallel.masked_mean`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from dajax.typing import Array, Float

# Values of `kind` -> the settings that each needs beside it; see target_map.
TARGET_LOSSES = {
    "entropy": (),
    "max_square": (),
    "image_weighted_entropy": ("ratio",),
    "image_weighted_max_square": ("ratio",),
    "robust_entropy": ("eta",),
}
_SMALLEST = 1e-8  # FDA, model/deeplab.py: keeps the gradient of a power finite at entropy 0


def target_map(logits: Float[Array, "N H W K"], config: Any) -> Float[Array, "N H W"]:
    """The loss that `kind` names, of every pixel.

    "entropy": sum_c I_c, ADVENT's MinEnt, in [0, 1]. "max_square": -sum_c p_c^2 / 2K, as
    MaxSquare's code has it; its paper does not divide by K. "image_weighted_max_square" and
    "image_weighted_entropy": w (-sum_c p_c^2) / K and w (-sum_c p_c log p_c) / K, as the code has
    them: without the 2, so that ratio 0 is twice "max_square". "robust_entropy": FDA's.

    Args:
      logits: float [N, H, W, K].
      config: `kind`, one of TARGET_LOSSES; `ratio` and `eta` where it needs them.

    Returns:
      float32 [N, H, W]; finite, with a finite gradient, for any finite logits.

    Raises:
      ValueError: unknown kind.
    """
    kind, num_classes = config.kind, logits.shape[-1]
    if kind == "entropy":
        return information_map(logits).sum(-1)
    if kind == "max_square":
        return -squares_map(logits) / (2.0 * num_classes)
    if kind == "image_weighted_max_square":
        return -image_weights(logits, ratio=config.ratio) * squares_map(logits) / num_classes
    if kind == "image_weighted_entropy":
        return image_weights(logits, ratio=config.ratio) * entropy_map(logits) / num_classes
    if kind == "robust_entropy":
        return robust_entropy_map(logits, eta=config.eta)
    raise ValueError(f"unknown target loss '{kind}'; known: {', '.join(TARGET_LOSSES)}")


def entropy_map(
    logits: Float[Array, "N H W K"], *, double_softmax: bool = False
) -> Float[Array, "N H W"]:
    """-sum_c p_c log p_c of every pixel, in nats.

    Args:
      logits: float [N, H, W, K].
      double_softmax: DASS's released code hands the PROBABILITIES to log_softmax: -sum_c p_c
        log softmax(p)_c. For 19 classes its values lie in [2.03, 2.94] instead of [0, 2.94], and
        its gradient is weak.

    Returns:
      float32 [N, H, W]; finite, with a finite gradient, for any finite logits.
    """
    log_prob = jax.nn.log_softmax(logits.astype(jnp.float32))
    prob = jnp.exp(log_prob)
    return -(prob * (jax.nn.log_softmax(prob) if double_softmax else log_prob)).sum(-1)


def information_map(logits: Float[Array, "N H W K"]) -> Float[Array, "N H W K"]:
    """I_c = -p_c log p_c / log K, the weighted self-information of every class (Vu et al., CVPR
    2019, eq. 2 and 3; advent/utils/func.py, prob_2_entropy): ADVENT's discriminator sees it in
    place of the probabilities, and its sum over the classes is the entropy in [0, 1].

    The code adds 1e-30 to p within the logarithm, which matters only where p underflows.

    Args:
      logits: float [N, H, W, K].

    Returns:
      float32 [N, H, W, K], from 0 to 1 / (e log K); finite, with a finite gradient, for any finite
        logits.
    """
    log_prob = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.exp(log_prob) * log_prob / jnp.log(float(logits.shape[-1]))


def robust_entropy_map(logits: Float[Array, "N H W K"], *, eta: float) -> Float[Array, "N H W"]:
    """(e^2 + 1e-8)^eta of every pixel's entropy e in [0, 1] (Yang and Soatto, CVPR 2020, eq. 4;
    FDA's model/deeplab.py): undecided pixels weigh more than nearly certain ones.

    Args:
      logits: float [N, H, W, K]. FDA takes them before they are up-sampled.
      eta: 2.0 in FDA's command. The code divides by 2.9444, log 19, whatever the classes; here it
        is log K.

    Returns:
      float32 [N, H, W].
    """
    entropy = entropy_map(logits) / jnp.log(float(logits.shape[-1]))
    return (jnp.square(entropy) + _SMALLEST) ** eta


def squares_map(logits: Float[Array, "N H W K"]) -> Float[Array, "N H W"]:
    """sum_c p_c^2 of every pixel (Chen, Xue and Cai, ICCV 2019; MaxSquareloss in utils/loss.py).

    Args:
      logits: float [N, H, W, K].
    """
    return jnp.square(jax.nn.softmax(logits.astype(jnp.float32))).sum(-1)


def image_weights(logits: Float[Array, "N H W K"], *, ratio: float) -> Float[Array, "N H W"]:
    """(H W / n)^ratio, n being the pixels of the same image that have the same predicted class
    (Chen, Xue and Cai, ICCV 2019, section 3.3; IW_MaxSquareloss in utils/loss.py).

    The code sums over pixels and divides by n^ratio (H W)^(1 - ratio), which is the mean over
    pixels with these weights. It works for one image at a time; here each image has its own.

    Args:
      logits: float [N, H, W, K].
      ratio: alpha, 0.2 in code and paper; 0: every pixel weighs 1.

    Returns:
      float32 [N, H, W], without a gradient.
    """
    classes = jnp.arange(logits.shape[-1]).reshape(1, 1, 1, -1)
    is_class = (logits.argmax(-1)[..., None] == classes).astype(jnp.float32)  # [N, H, W, K]
    shares = is_class.mean((1, 2), keepdims=True)  # [N, 1, 1, K]
    return jax.lax.stop_gradient((is_class * shares).sum(-1) ** -ratio)
