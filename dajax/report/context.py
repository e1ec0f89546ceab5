"""What the sections of a report share: the networks that are looked at, and what each says of the
same sample of the images, computed once.
"""

import dataclasses
import functools

import jax
import numpy as np

from dajax import console
from dajax.analysis import figures
from dajax.analysis.embedding import unit_rows
from dajax.analysis.pixel_labels import class_counts
from dajax.analysis.samples import some_rows, stratified_rows
from dajax.engine import checkpoint, teacher
from dajax.errors import UserError
from dajax.models.apply import inference
from dajax.ops.class_center_distance import class_moments
from dajax.ops.resize import resize_nearest_legacy
from dajax.report.runs import LeftOut, Run, Stage
from dajax.trained import open_workdir
from data_pipeline.segmentation import transforms as seg_transforms

SAMPLES = 1000  # images of each domain: CLAN and SPCL (figures 4 to 6)
SEED = 0  # of whatever is drawn for a figure
MAX_NETWORKS = 6  # side by side, ours: more do not fit a page
PIXELS = 800  # of each domain in a picture of t-SNE, ours
_BATCH = 4  # images of a segmenter at a time
DOMAINS = ("source", "target")


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of a run: `label` in figures, `run`, `stage`, `trained` (dajax.trained.Trained)."""

    label: str
    run: Run
    stage: Stage
    trained: object

    def norm_set(self, domain):
        """The set of normalisation statistics that images of a domain go through."""
        return 0 if domain == "source" else self.stage.config.target_bn


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


class Context:
    """The runs of a report and what their networks say.

    Args:
      runs: list of runs.Run.
      stage: name of the only stage to look at; None for all of one run, and for the last of each
        of several.
      samples: images of each domain that are looked at.

    Attributes:
      runs, samples: as given.
      networks: list of Network, at most MAX_NETWORKS.
      networks_left_out: labels of the others.

    Raises:
      UserError: no such stage, or it has no network of its own.
    """

    def __init__(self, runs, stage=None, samples=SAMPLES):
        self.runs, self.samples = runs, samples
        found = [(run, one) for run in runs for one in _chosen(run, stage, len(runs) > 1)]
        last = MAX_NETWORKS - 1
        shown = found if len(found) <= MAX_NETWORKS else [found[0], *found[-last:]]
        self.networks_left_out = [one.label for run, one in found if (run, one) not in shown]
        self.networks = [
            Network(one.label, run, one, open_workdir(run.workdir, one.name)) for run, one in shown
        ]
        self._samples = {}

    @property
    def task(self):
        """ "classification" or "segmentation"."""
        return self.runs[0].task

    @property
    def class_names(self):
        """K names."""
        return self.runs[0].class_names

    @property
    def stages(self):
        """All stages of all runs."""
        return [stage for run in self.runs for stage in run.stages]

    @functools.cached_property
    def colors(self):
        """{label of a stage: its colour in every figure}."""
        labels = [network.label for network in self.networks]
        return figures.series_colors([*labels, *(stage.label for stage in self.stages)])

    def images_of(self, network, domain):
        """The set that a domain's images are sampled from: the source, or what is measured on."""
        domains = network.run.domains
        return domains.source if domain == "source" else domains.evaluation

    def sample(self, network, domain):
        """ImageSample or PixelSample of a network and "source" or "target".

        Raises:
          LeftOut: the data cannot be read.
          DataError: an image is broken.
        """
        key = (network.label, network.trained.step, domain)
        if key not in self._samples:
            images = self.images_of(network, domain)
            rows = some_rows(len(images), self.samples, seed=SEED)
            read = image_sample if self.task == "classification" else pixel_sample
            self._samples[key] = read(network, domain, images, rows)
        return self._samples[key]

    def labelled(self, what):
        """Raises LeftOut where a target has no labels, which `what` needs."""
        for network in self.networks:
            images = self.images_of(network, "target")
            if not images.has_labels:
                raise LeftOut(f"{images.name} has no labels, and {what} needs the true classes")

    def snapshots(self, network, count):
        """Networks of at most `count` of the checkpoints that a stage has kept, evenly over them,
        oldest first; the last one is the network itself.
        """
        directory, stage_config = network.stage.directory, network.stage.config
        known = network.stage.snapshots
        places = np.unique(np.linspace(0, len(known) - 1, count).round().astype(int))
        for step in (known[place] for place in places):
            if step == network.trained.step:
                yield network
                continue
            state, _ = checkpoint.read(directory / "checkpoints", step)
            state = teacher.predicting(state, stage_config)
            older = dataclasses.replace(
                network.trained,
                step=step,
                params=state["params"],
                batch_stats=state["batch_stats"],
                extra=state["extra"],
            )
            yield dataclasses.replace(network, trained=older)


def _chosen(run, stage, is_comparison):
    """The stages of a run whose networks are looked at."""
    found = run.networks()
    if not found:
        raise UserError(f"{run.workdir}: no stage with a network has a checkpoint; train it first")
    if stage is None:
        return found[-1:] if is_comparison else found
    chosen = [one for one in found if one.name == stage]
    if not chosen:
        raise UserError(
            f"{run.workdir}: stage '{stage}' has no network of its own to look at; these have:"
            f" {', '.join(one.name for one in found)}"
        )
    return chosen


def image_sample(network, domain, images, rows):
    """The ImageSample of some rows of a set."""
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
    """The PixelSample of some rows of a set."""
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
