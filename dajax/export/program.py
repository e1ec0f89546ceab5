"""A prediction as one function of arrays, with everything that the evaluation does to a picture."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dajax.export.resize import resize_as_read, resize_scores
from dajax.models.apply import forward, predict_scores
from dajax.ops.sliding_window import from_config


class Program(NamedTuple):
    """A network's predictions.

    Attributes:
      run: f(variables, images uint8 [N, H, W, C]) -> {name: array}, pure: "classes", int32 [N] or
        uint8 [N, H, W]; "probabilities", float32 [N, K] or [N, H, W, K]; "logits", float32 [N, K]
        or, of a segmenter, [N, h, w, K] at the network's stride, through windows at the
        size that pictures are resized to.
      variables: {"params", "batch_stats"} by network, numpy float32.
      height, width: of the pictures, in pixels; None for any.
      channels: C.
      least_hw: (height, width) that a picture of any size must reach.
    """

    run: Callable
    variables: dict[str, Any]
    height: int | None
    width: int | None
    channels: int
    least_hw: tuple[int, int]


def build(trained, *, any_size):
    """The Program of a dajax.trained.Trained.

    Args:
      any_size: whether the format takes pictures of any height and width. Otherwise, and where the
        evaluation neither resizes nor crops, they are those that it resizes to.
    """
    transform = trained.transform
    is_segmenter = trained.config.task == "segmentation"
    resize_hw = transform.size_hw if is_segmenter else transform.resize_hw
    crops = not is_segmenter and transform.crop is not None
    is_fixed = not any_size or (resize_hw is None and not crops)
    fixed_hw = (resize_hw or transform.size_hw) if is_fixed else (None, None)
    make = _segmenter if is_segmenter else _classifier
    return Program(
        run=make(trained),
        variables={
            name: {trained.model.network: tree[trained.model.network]}
            for name, tree in (("params", trained.params), ("batch_stats", trained.batch_stats))
        },
        height=fixed_hw[0],
        width=fixed_hw[1],
        channels=3 if is_segmenter else _channels(trained),
        least_hw=transform.size_hw if crops and resize_hw is None else (1, 1),
    )


def _channels(trained):
    """Of the images that a classifier's first convolution takes."""
    return trained.params[trained.model.network]["backbone"]["conv1"]["kernel"].shape[2]


def _classifier(trained):
    model, transform = trained.model, trained.transform
    norm_set = trained.config[trained.stage].target_bn

    def run(variables, images):
        if transform.resize_hw is not None:
            images = resize_as_read(images, transform.resize_hw, "bicubic")
        if transform.crop is not None:
            images = _central(images, transform.size_hw)
        prepared = _normalised(images, 255.0, transform.mean, transform.std)
        logits = forward(model, variables, prepared, norm_set).logits
        return {
            "classes": jnp.argmax(logits, axis=-1).astype(jnp.int32),
            "probabilities": jax.nn.softmax(logits),
            "logits": logits,
        }

    return run


def _segmenter(trained):
    model, transform = trained.model, trained.transform
    norm_set = trained.config[trained.stage].target_bn
    align_corners = trained.config.evaluation.align_corners
    window = from_config(trained.config.evaluation, transform.size_hw)

    def run(variables, images):
        resized = resize_as_read(images, transform.size_hw, transform.resize)
        ordered = resized[..., ::-1] if transform.channels == "bgr" else resized
        prepared = _normalised(ordered, transform.divisor, transform.mean, transform.std)
        scores = predict_scores(model, variables, prepared, norm_set=norm_set, window=window)
        at_size = resize_scores(scores, images.shape[1:3], align_corners=align_corners)
        return {
            "classes": jnp.argmax(at_size, axis=-1).astype(jnp.uint8),
            "probabilities": jax.nn.softmax(at_size),
            "logits": scores,
        }

    return run


def _central(images, hw):
    """The central hw of [N, H, W, C]. As there, a half rounds to the even number."""
    for axis, size in enumerate(hw, start=1):
        spare = images.shape[axis] - size
        start = spare // 2 + (spare % 2) * (spare // 2 % 2)
        images = jax.lax.dynamic_slice_in_dim(images, jnp.asarray(start), size, axis)
    return images


def _normalised(images, divisor, mean, std):
    """uint8 [N, h, w, C] -> float32, as apply_evaluation of data_pipeline."""
    mean, std = (np.array(values, np.float32).reshape(1, 1, 1, -1) for values in (mean, std))
    return (images.astype(jnp.float32) / np.float32(divisor) - mean) / std
