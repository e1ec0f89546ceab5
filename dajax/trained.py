"""A trained model in a notebook: config, parameters and predictions, without data and without
TensorFlow. dajax.open_workdir makes it of a workdir.
"""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from dajax.errors import UserError
from dajax.models.apply import inference, segmenter_inference
from dajax.ops.resize import largest_class, resize_bilinear
from dajax.ops.sliding_window import from_config as sliding_window_of
from dajax.ops.windows import blended_classes
from data_pipeline.classification import transforms as preprocess
from data_pipeline.given import as_list, as_pixels, check_batch_size
from data_pipeline.preprocess import resize
from data_pipeline.segmentation import transforms as seg_transforms


@dataclasses.dataclass(frozen=True)
class Trained:
    """One stage of a workdir. What it predicts with is in the subclasses, one a task.

    Attributes:
      config: ConfigDict of the whole run; `stage`: name of the stage; `step`: of the checkpoint.
      class_names: K names.
      image_shape: (H, W, C) of an image as training sees it.
      params, batch_stats: {network name: tree of numpy arrays}, of the student or of its teacher,
        as `predict_with` of the stage says.
      extra: {name: numpy array}, what the method carried besides (pseudo-labels, class centres);
        under "teacher" {"params", "batch_stats"} of the teacher, where the stage kept one.
      model: the Flax module; `transform`: the evaluation transform.
      results: the stage's figures, None while it is unfinished, or when another snapshot than its
        last is opened, chosen or because the last is damaged: `metrics` has the figures of all.
      metrics: list of the objects of metrics.jsonl.
    """

    config: ConfigDict
    stage: str
    step: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    params: Any
    batch_stats: Any
    extra: Any
    model: Any
    transform: Any
    results: dict | None
    metrics: list[dict]


class TrainedClassifier(Trained):
    """A classifier: one class an image."""

    def prepare(self, picture):
        """What the network sees of one picture, prepared as the evaluation does it.

        Args:
          picture: as one of `predict`.

        Returns:
          float32 [h, w, C].
        """
        pixels = as_pixels(picture, self.image_shape[-1])
        fixed = self.transform.resize_hw is None and self.transform.crop is None
        # Sets of images in memory, the digits, are all of one size and resized by nobody.
        if fixed and pixels is not picture:
            pixels = resize(pixels, self.transform.size_hw)
        return preprocess.apply_evaluation([pixels], self.transform)[0]

    def outputs(self, prepared, *, domain="target", batch_size=64):
        """(features float32 [n, D], logits float32 [n, K]) of each batch of prepared images.

        Args:
          prepared: N arrays of `prepare`, a list or a generator.
          domain, batch_size: as of `predict`.

        Raises:
          UserError: an unknown domain.
        """
        check_batch_size(batch_size)
        target = self.config[self.stage].target_bn
        # of several sources
        domains = {"source": 0, "target": target} | {
            f"source{i}": i for i in range(target if target > 1 else 0)
        }
        if domain not in domains:
            raise UserError(f"domain '{domain}': expected one of {', '.join(domains)}")
        run = inference(self.model, domains[domain])
        variables = {"params": self.params, "batch_stats": self.batch_stats}
        rows = iter(prepared)
        while batch := list(itertools.islice(rows, batch_size)):
            # one shape, one compilation
            spare = batch_size - len(batch)
            padded = np.pad(np.stack(batch), ((0, spare), (0, 0), (0, 0), (0, 0)))
            features, logits = run(variables, padded)
            yield np.asarray(features)[: len(batch)], np.asarray(logits)[: len(batch)]

    def _outputs(self, images, domain, batch_size):
        """As `outputs`, of images as of `predict`."""
        prepared = (self.prepare(image) for image in as_list(images))
        return self.outputs(prepared, domain=domain, batch_size=batch_size)

    def predict(self, images, *, domain="target", batch_size=64):
        """Class of each image.

        Args:
          images: uint8 [N, H, W, C], or a list of N pictures of any sizes: uint8 [H, W, C] as read
            from a file (RGB, or grey with C = 1), paths, PIL images. A single picture is a list of
            one. Paths and PIL images become grey where the network takes grey, and are
            resized where it was trained on images of one size as they were.
          domain: whose normalisation statistics to use: "source", "target", or of several sources
            (MSCAN) "source0", "source1" ...
          batch_size: images at a time.

        Returns:
          int [N] positions in `class_names`.
        """
        return self.logits(images, domain=domain, batch_size=batch_size).argmax(-1)

    def logits(self, images, *, domain="target", batch_size=64):
        """Float32 [N, K]; arguments as `predict`."""
        return np.concatenate([logits for _, logits in self._outputs(images, domain, batch_size)])

    def features(self, images, *, domain="target", batch_size=64):
        """Float32 [N, D] pooled backbone features, the input of the linear head; arguments as
        `predict`.
        """
        return np.concatenate(
            [features for features, _ in self._outputs(images, domain, batch_size)]
        )


class TrainedSegmenter(Trained):
    """A segmenter: one class a pixel."""

    def _batches(self, run, images, batch_size):
        """Of each batch (pictures uint8 [H, W, 3], what `run` makes of them once they are prepared:
        a tree of numpy arrays).
        """
        check_batch_size(batch_size)
        variables = {"params": self.params, "batch_stats": self.batch_stats}
        images = as_list(images)
        for start in range(0, len(images), batch_size):
            pictures = [as_pixels(image) for image in images[start : start + batch_size]]
            prepared = seg_transforms.apply_evaluation(pictures, self.transform)
            spare = batch_size - len(prepared)
            # one shape, one compilation
            padded = np.pad(prepared, ((0, spare), (0, 0), (0, 0), (0, 0)))
            outputs = jax.tree.map(np.asarray, run(variables, padded))
            yield pictures, _first(outputs, len(pictures))

    def predict(self, images, *, batch_size=4, aggregation_alpha=0.0, window=None):
        """Class of every pixel, as the evaluation does it: scores brought to the image's own size
        (bilinear), argmax.

        Args:
          images: uint8 [N, H, W, 3], or a list of N pictures of any sizes: uint8 [H, W, 3] RGB,
            paths, PIL images. A single picture is a list of one.
          batch_size: images at a time.
          aggregation_alpha: PLCA's spatial aggregation at test time; the authors' share of it is
            0.5, and 0 is none.
          window: None, or (height, width) in pixels: a larger picture goes through overlapping
            windows of this size, each as the evaluation takes an image, and their scores are
            blended (ops.windows).

        Returns:
          List of N uint8 [H, W], positions in `class_names`.
        """
        sliding = sliding_window_of(self.config.evaluation, self.transform.size_hw)
        if aggregation_alpha and sliding is not None:
            raise UserError(
                f"aggregation_alpha={aggregation_alpha} aggregates over a whole image, and this"
                f" run's evaluation shows windows of {sliding.crop_hw}; leave it out"
            )
        run = segmenter_inference(
            self.model,
            self.config[self.stage].target_bn,
            float(aggregation_alpha),
            window=sliding,
        )
        if window is not None:
            return [
                self._through_windows(run, as_pixels(image), window, batch_size)
                for image in as_list(images)
            ]
        align_corners = self.config.evaluation.align_corners
        return [
            largest_class(row, picture.shape[:2], align_corners=align_corners)
            for pictures, scores in self._batches(run, images, batch_size)
            for picture, row in zip(pictures, scores, strict=True)
        ]

    def _through_windows(self, run, picture, window, batch_size):
        """The classes uint8 [H, W] of a picture uint8 [H, W, 3]."""
        align_corners, hw = self.config.evaluation.align_corners, picture.shape[:2]
        if window[0] >= hw[0] and window[1] >= hw[1]:
            ((_, scores),) = self._batches(run, [picture], batch_size)
            return largest_class(scores[0], hw, align_corners=align_corners)

        def scores_of(windows):
            parts = [picture[window] for window in windows]
            for crops, scores in self._batches(run, parts, batch_size):
                for crop, row in zip(crops, scores, strict=True):
                    resized = resize_bilinear(
                        jnp.asarray(row)[None], crop.shape[:2], align_corners=align_corners
                    )
                    yield np.asarray(resized[0], np.float32)

        return blended_classes(hw, window, len(self.class_names), scores_of)

    def features(self, images, *, batch_size=4):
        """Float32 [N, h, w, D], the map that the heads see; arguments as `predict`."""
        run = inference(self.model, self.config[self.stage].target_bn)
        return np.concatenate(
            [output.features for _, output in self._batches(run, images, batch_size)]
        )


def _first(tree, count):
    """The first `count` rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[:count], tree)
