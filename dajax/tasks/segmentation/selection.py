"""What an evaluation says of a segmenter without a label of the target: the figures of
ops.selection over pixels, from the scores that the evaluation has computed anyway.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dajax import parallel, processes
from dajax.label_free import key_of
from dajax.models.apply import forward, segmenter_inference
from dajax.ops import selection
from dajax.ops.labels import IGNORED
from dajax.ops.resize import largest_class
from dajax.tasks.segmentation.evaluate import picture_of

# Pixels of an image among which its density is measured: eval_siment of SND's authors
# (AdaptSegNet/run_all.py), who draw them anew each time.
PIXELS = 100
# Images of a domain for DEV, which with PIXELS each are the 3,000 rows of utils/dev.py of SND's
# authors; DEV's own have no segmentation.
DEV_IMAGES = 30

_image_figures = jax.jit(selection.image_figures)
_ratios, _risk = jax.jit(selection.density_ratios), jax.jit(selection.validation_risk)


def picks_of(index, count):
    """int32 [P], PIXELS places out of `count`, or all; the same for an image at every evaluation.

    Args:
      index: of the image in its set, -1 for padding.
    """
    rng = np.random.default_rng((0, max(int(index), 0)))
    return rng.choice(count, min(PIXELS, count), replace=False).astype(np.int32)


class Pixels:
    """The figures of a pass over images, batch by batch; labels never come here."""

    def __init__(self):
        self._entropies, self._means, self._densities, self._places = [], [], [], []

    def add(self, scores, mask, index):
        """Scores float [N, h, w, K] at the network's stride; mask bool [N] and index int32 [N] of
        the images.
        """
        count = scores.shape[1] * scores.shape[2]
        picks = np.stack([picks_of(row, count) for row in index])
        found = (np.asarray(x, np.float64)[mask] for x in _image_figures(scores, picks))
        for images, parts in zip(found, self._parts, strict=True):
            parts.append(images)
        self._places.append(index[mask])

    @property
    def _parts(self):
        return self._entropies, self._means, self._densities

    def figures(self):
        """{rule: float} over all images, of which each counts as much; without "dev"."""
        places = np.concatenate([np.zeros(0, np.int32), *self._places])
        entropies, means, densities = (
            processes.rows_of_all(np.concatenate(part) if part else None, places)
            for part in self._parts
        )
        mean = means.mean(0)
        entropy = entropies.mean()
        spread = float(selection.entropy_of(jnp.asarray(mean, jnp.float32)))
        return {"entropy": entropy, "im": spread - entropy, "snd": densities.mean()}


def run_without_labels(
    variables, pixels, *, data, model, norm_set, batch_size, align_corners, window, num_pictures
):
    """Gives the scores of every evaluation image to `pixels`, where there are no labels.

    Returns:
      {name: uint8 [H, wide, 3]}, the first num_pictures images beside their predictions.
    """
    run = segmenter_inference(model, norm_set, devices=data.devices, window=window)
    pictures = {}
    for batch in data.evaluation_images(batch_size):
        scores = run(variables, batch["image"])
        pixels.add(scores, batch["mask"], batch["index"])
        for row in np.flatnonzero(batch["mask"])[: num_pictures - len(pictures)]:
            index = int(batch["index"][row])
            image = data.evaluation_image(index)
            classes = largest_class(
                np.asarray(scores[row]), image.shape[:2], align_corners=align_corners
            )
            pictures[f"{index:04d}"] = picture_of(image, classes, None, data.space.palette)
    return pictures


def label_free_figures(pixels, variables, *, data, model, target_bn, batch_size):
    """{"label_free_<rule>": float}, that of "dev" where data.has_source_held_out.

    Args:
      pixels: Pixels that have seen every evaluation image.
      variables: {"params", "batch_stats"} by network.
      target_bn: set of normalisation statistics of the target; the source has 0.
    """
    found = pixels.figures()
    if data.has_source_held_out:
        shared = dict(data=data, model=model, batch_size=batch_size)
        source, _ = _sample(variables, "source", norm_set=0, **shared)
        held_out, errors = _sample(variables, "held_out", norm_set=0, **shared)
        target, _ = _sample(variables, "evaluation", norm_set=target_bn, **shared)
        found["dev"] = _risk(_ratios(source, target, held_out), errors)
    return {key_of(rule): float(value) for rule, value in found.items()}


@functools.lru_cache(maxsize=16)
def _picked(model, norm_set, devices):
    def run(variables, batch):
        output = forward(model, variables, batch["image"], norm_set)
        predicted = model.prediction_logits(output).argmax(-1)
        features = output.features.reshape(len(predicted), -1, output.features.shape[-1])
        rows = jnp.take_along_axis(features, batch["picks"][:, :, None], 1)
        predicted = predicted.reshape(len(predicted), -1)
        return rows.astype(jnp.float32), jnp.take_along_axis(predicted, batch["picks"], 1)

    return parallel.compile_map(run, devices)


def _sample(variables, which, *, norm_set, data, model, batch_size):
    """(features float32 [n, D] of pixels of a set, float32 [n] whether each is predicted wrongly;
    zeros where it has no labels). Pixels whose label is ignored are left out.

    A label is looked at in the middle of the pixel of the network's map.
    """
    features, errors = [], []
    run = _picked(model, norm_set, tuple(data.devices))
    for batch in data.sample(which, DEV_IMAGES, batch_size):
        h, w = jax.eval_shape(
            lambda images: forward(model, variables, images, norm_set).features, batch["image"]
        ).shape[1:3]
        picks = np.stack([picks_of(row, h * w) for row in batch["index"]])
        rows, predicted = map(np.asarray, run(variables, {"image": batch["image"], "picks": picks}))
        counted = np.broadcast_to(batch["mask"][:, None], picks.shape)
        truth = predicted
        if "label" in batch:
            height, width = batch["size_hw"].T[:, :, None]  # [N, 1] each
            y, x = picks // w, picks % w
            truth = batch["label"][
                np.arange(len(picks))[:, None],
                (2 * y + 1) * height // (2 * h),
                (2 * x + 1) * width // (2 * w),
            ]
            counted = counted & (truth != IGNORED)
        features.append(rows[counted])
        errors.append((predicted != truth)[counted])
    return np.concatenate(features), np.concatenate(errors).astype(np.float32)
