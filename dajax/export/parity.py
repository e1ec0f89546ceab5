"""Whether an exported file predicts what dajax predicts: ten pictures, the largest difference of a
probability.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dajax.models.apply import segmenter_inference
from dajax.ops.resize import resize_bilinear
from dajax.ops.sliding_window import from_config
from data_pipeline.segmentation import transforms as seg_transforms

COUNT = 10
# The bound; float32 in another order of sums stays near 1e-6.
TOLERANCE = 1e-4
# Over the size that the evaluation resizes to: an odd enlargement and a reduction.
_SCALES = (1.3, 0.7)
_SEED = 14  # ours, any


def pictures(program, trained):
    """Ten made-up pictures in batches of two sizes of batch and, where the program takes any size,
    of two sizes of picture: colour fields, edges and noise.

    Returns:
      list of uint8 [n, H, W, C].
    """
    rng, transform = np.random.default_rng(_SEED), trained.transform
    inside_hw = getattr(transform, "resize_hw", None) or transform.size_hw
    batches = []
    for scale, count in zip(_SCALES, (3, 2), strict=True):
        if program.height is None:
            hw = [
                max(round(side * scale), least)
                for side, least in zip(inside_hw, program.least_hw, strict=True)
            ]
        else:
            hw = [program.height, program.width]
        batches += [
            np.stack([_picture(rng, *hw, program.channels) for _ in range(count)]) for _ in range(2)
        ]
    return batches


def _picture(rng, height, width, channels):
    """uint8 [height, width, channels]."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j][..., None]
    waves = rng.uniform(0.5, 6, (2, channels))
    field = np.sin(2 * np.pi * (waves[0] * rows + waves[1] * columns + rng.uniform(size=channels)))
    is_inside = np.abs(rows - rng.uniform()) + np.abs(columns - rng.uniform()) < 0.3
    field = np.where(is_inside, -field, field) + rng.normal(0, 0.2, (height, width, channels))
    return np.clip(127.5 + 90 * field, 0, 255).astype(np.uint8)


def probabilities(trained, images):
    """Of dajax's own prediction.

    Args:
      trained: dajax.trained.Trained.
      images: uint8 [N, H, W, C].

    Returns:
      float32 [N, K], or of a segmenter [N, H, W, K].
    """
    if trained.config.task == "classification":
        return jax.nn.softmax(jnp.asarray(trained.logits(images, batch_size=len(images))))
    window = from_config(trained.config.evaluation, trained.transform.size_hw)
    run = segmenter_inference(trained.model, trained.config[trained.stage].target_bn, window=window)
    scores = run(
        {"params": trained.params, "batch_stats": trained.batch_stats},
        seg_transforms.apply_evaluation(images, trained.transform),
    )
    align_corners = trained.config.evaluation.align_corners
    return jax.nn.softmax(resize_bilinear(scores, images.shape[1:3], align_corners=align_corners))


def largest_difference(read, batches, trained):
    """Of a probability of the file and dajax's, over all pictures.

    Args:
      read: f(images) -> probabilities, a format's reader.
      batches: of `pictures`.
      trained: dajax.trained.Trained.

    Returns:
      float; NaN where any probability is NaN.
    """
    return max(
        (
            float(
                np.abs(np.asarray(read(images)) - np.asarray(probabilities(trained, images))).max()
            )
            for images in batches
        ),
        key=lambda value: np.inf if np.isnan(value) else value,
    )
