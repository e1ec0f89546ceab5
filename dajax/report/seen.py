"""What a network says of a sample of a domain's images: features, predictions, sums of both."""

import dataclasses
import functools

import jax
import numpy as np

from dajax import console
from dajax.analysis.embedding import unit_rows
from dajax.analysis.pixel_labels import class_counts
from dajax.analysis.samples import stratified_rows
from dajax.models.apply import inference
from dajax.ops.class_center_distance import class_moments
from dajax.ops.resize import resize_nearest_legacy
from data_pipeline.segmentation import transforms as seg_transforms

SEED = 0  # of whatever is drawn for a figure
PIXELS = 800  # of each domain in a picture of t-SNE, ours
_BATCH = 4  # images of a segmenter at a time


@dataclasses.dataclass(frozen=True)
class ImageSample:
    """What a classifier says of a domain's sampled images.

    Attributes:
      rows: int64 [n], of the set; `labels`: int32 [n], None in a domain without labels.
      features: float32 [n, D]; `logits`: float32 [n, K].
    """

    rows: np.ndarray
    labels: np.ndarray | None
    features: np.ndarray
    logits: np.ndarray

    @property
    def image_features(self):
        """As a PixelSample has them: the features."""
        return self.features


@dataclasses.dataclass(frozen=True)
class PixelSample:
    """What a segmenter says of a domain's sampled images, at the stride of its features.

    Attributes:
      rows: int64 [n], of the set; `has_labels`: whether there are true classes.
      features: float32 [m, D] of pixels drawn with as even a share of each class as there is;
        `classes`: int64 [m], their true classes, or the predicted ones without labels.
      image_features: float32 [n, D], the mean over each image.
      moments, unit_moments: of all pixels with a class, see ops.class_center_distance; of features
        as they are, and of length 1. None without labels.
      label_counts, prediction_counts: int64 [K] pixels; the first None without labels.
    """

    rows: np.ndarray
    has_labels: bool
    features: np.ndarray
    classes: np.ndarray
    image_features: np.ndarray
    moments: tuple | None
    unit_moments: tuple | None
    label_counts: np.ndarray | None
    prediction_counts: np.ndarray


def image_sample(network, domain, images, rows):
    """The ImageSample of some rows of a set.

    Args:
      network: context.Network; domain: "source" or "target", whose statistics are taken.
      images: ImageSet; rows: int64 [n], ascending.
    """
    counter, parts, done = console.Counter(f"{network.label}: {domain} images"), [], 0
    size = min(network.run.config.runtime.eval_batch_size, len(rows))
    for statistics, some in _by_statistics(network, domain, rows):
        prepared = (network.trained.prepare(images.read(row)) for row in some)
        for output in network.trained.outputs(prepared, domain=statistics, batch_size=size):
            parts.append(output)
            done += len(output[0])
            counter.update(done, len(rows))
    counter.close()
    features, logits = (np.concatenate(column) for column in zip(*parts, strict=True))
    labels = None if images.labels is None else images.labels[rows]
    return ImageSample(rows, labels, features, logits)


def _by_statistics(network, domain, rows):
    """(name of the normalisation statistics, ascending rows that go through them): of several
    sources each may have its own.
    """
    sources = network.run.domains.sources
    if domain == "target" or network.norm_set("target") <= 1:
        return [(domain, rows)]
    ends = np.cumsum([0, *map(len, sources)])
    parts = [
        (f"source{i}", rows[(rows >= ends[i]) & (rows < ends[i + 1])]) for i in range(len(sources))
    ]
    return [(name, some) for name, some in parts if len(some)]


def pixel_sample(network, domain, images, rows):
    """The PixelSample of some rows of a SegmentationSet; arguments as image_sample."""
    num_classes = len(network.trained.class_names)
    quota = max(num_classes, 4 * PIXELS // len(rows))  # of an image; the last draw is over all
    rng, drawn, means, done = np.random.default_rng(SEED), [], [], 0
    moments, unit_moments, label_counts, prediction_counts = [], [], 0, 0
    counter = console.Counter(f"{network.label}: {domain} images")
    for features, logits, labels in pixel_outputs(network, domain, images, rows):
        predictions = logits.argmax(-1)
        classes = predictions if labels is None else labels.astype(np.int64)
        if labels is not None:
            unit = unit_rows(features)
            moments.append(class_moments(features, classes, num_classes))
            unit_moments.append(class_moments(unit, classes, num_classes))
            label_counts = label_counts + class_counts(classes, num_classes)
        prediction_counts = prediction_counts + class_counts(predictions, num_classes)
        means.append(features.mean((0, 1)))
        seed = int(rng.integers(2**31))
        some = stratified_rows(classes, quota, num_classes=num_classes, seed=seed)
        drawn.append((features.reshape(-1, features.shape[-1])[some], classes.reshape(-1)[some]))
        done += 1
        counter.update(done, len(rows))
    counter.close()
    pixels, classes = (np.concatenate(column) for column in zip(*drawn, strict=True))
    kept = stratified_rows(classes, PIXELS, num_classes=num_classes, seed=SEED)
    return PixelSample(
        rows=rows,
        has_labels=images.has_labels,
        features=pixels[kept],
        classes=classes[kept],
        image_features=np.stack(means),
        moments=_summed(moments),
        unit_moments=_summed(unit_moments),
        label_counts=label_counts if images.has_labels else None,
        prediction_counts=prediction_counts,
    )


def _summed(parts):
    """Moments of a set from those of its images; None of none."""
    return tuple(sum(column) for column in zip(*parts, strict=True)) if parts else None


def pixel_outputs(network, domain, images, rows):
    """What a segmenter says of each of some rows of a set, as the evaluation takes an image.

    Yields:
      (features float32 [h, w, D], logits float32 [h, w, K], labels uint8 [h, w] at the stride of
      the features, nearest, or None in a set without labels).
    """
    trained = network.trained
    run = _segmenter(trained.model, network.norm_set(domain))
    variables = {"params": trained.params, "batch_stats": trained.batch_stats}
    for some in np.split(rows, range(_BATCH, len(rows), _BATCH)):
        pictures = [images.read_image(row) for row in some]
        prepared = seg_transforms.apply_evaluation(pictures, trained.transform)
        spare = _BATCH - len(prepared)
        # one shape, one compilation
        padded = np.pad(prepared, ((0, spare), (0, 0), (0, 0), (0, 0)))
        outputs = jax.tree.map(np.asarray, run(variables, padded))
        # padding comes last
        for row, features, logits in zip(some, *outputs, strict=False):
            labels = None
            if images.has_labels:
                label = images.read_label(row)[None]
                labels = resize_nearest_legacy(label, features.shape[:2])[0]
            yield features, logits, labels


@functools.lru_cache(maxsize=32)
def _segmenter(model, norm_set):
    """f(variables, images float32 [N, H, W, 3]) -> (features [N, h, w, D], logits [N, h, w, K])."""
    run = inference(model, norm_set)

    def outputs(variables, images):
        output = run(variables, images)
        return output.features, model.prediction_logits(output)

    return outputs
