"""Pseudo-labels for every target training image, from the network of the stage before, written as
files that a later stage trains on.

rule="quantile": SPCL's (pseudo_label.py; eq. 5 of the paper). A pixel keeps its predicted class
where its confidence reaches the threshold of that class, min(cap, the class's median confidence).
rule="top": DASS's, the static labels of BiCL (gene_thres, save_pred): any class above the
confidence of its top share, or among the most confident share of the image.

rule="class_balanced": CBST's and CRST's. The class whose probability is greatest in proportion to
its threshold, where that proportion reaches 1; the threshold is the confidence of the class's top
share.

Beside the labels stand the mean entropy of each image's predictions, by which IntraDA ranks them,
and the pixels of each class in them, by which CRST finds its rare classes.

init_from may be a tuple of stages: then the probabilities are the mean of their networks', brought
to the image's size after the softmax (FDA's getSudoLabel_multi.py), and the stage is evaluated.

Two passes over the target, one for thresholds at the network's input size, one for labels at the
images' own, as both codes do it; a histogram in place of their lists, so memory does not grow with
the set.

`statistics` says what normalises the target's features. "running": what training left (SPCL, whose
own are frozen). "image": each image's own (DASS's code, which leaves the network in train mode;
here the running ones do not move). "reestimated": running ones, first re-estimated on
`reestimate_batches` batches of unlabelled target images (AdaBN; ours), for networks whose training
mixes both domains' statistics.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dajax import parallel, processes
from dajax.methods import _step
from dajax.models.apply import init_network, predict_scores
from dajax.models.mean_of_networks import MeanOfNetworks
from dajax.models.statistics import predict_scores_by_image, reestimate_statistics
from dajax.ops.confidence import (
    confidence_histogram,
    every_nth_of_class,
    portion_thresholds,
    quantile_thresholds,
    top_thresholds,
)
from dajax.ops.pseudo_labels import (
    class_balanced_labels,
    confident_labels,
    static_labels_by_rank,
    static_rank,
)
from dajax.ops.resize import interpolations, resize_bilinear, resize_into
from dajax.schedule import Schedule
from dajax.settings import check_classes, check_unread, choice
from dajax.state import TrainState

TASK = "segmentation"
# {rule: the keys that it reads}; and what a key is where nothing reads it, as recipes have it
RULES = {
    "quantile": ("proportion", "cap"),
    "top": ("share", "image_share", "keep_every", "never"),
    "class_balanced": ("share", "keep_every"),
}
UNREAD = dict(proportion=0.5, cap=0.9, share=0.1, image_share=0.1, keep_every=5, never=())
STATISTICS = ("running", "image", "reestimated")


def init(rng, images, *, config, model, **_):
    """See interface.py.

    Raises:
      UserError: an unknown rule, a setting that it does not read, unknown statistics, or a class
        that there is not.
    """
    choice(config, "rule", RULES)
    check_unread(config, "rule", RULES, UNREAD)
    choice(config, "statistics", STATISTICS)
    check_classes(config, "never", model.num_classes)
    params, batch_stats = init_network(rng, images, model=model)
    thresholds = jnp.zeros(model.num_classes, jnp.float32)
    return TrainState.create(
        params=params, batch_stats=batch_stats, opt_state={}, extra={"thresholds": thresholds}
    )


def schedule(state, **_):
    """One refresh, which counts as the only step."""
    step = int(state.step)
    return Schedule(refresh_at=0 if step == 0 else None, last_step=1, finished=step > 0)


@functools.lru_cache(maxsize=16)
def _compiled_histogram(image_hw, keep_every, in_raster_order, align_corners, is_mean, devices):
    """f(_, batch) -> (int32 [N, K, B], float32 [N] mean entropies of images as shares of the
    largest possible, int32 [N, K] pixels that each class is predicted for).
    """

    def count(_, batch):
        resize = functools.partial(resize_bilinear, hw=image_hw, align_corners=align_corners)
        probabilities = _probabilities(batch["logits"], resize, is_mean)
        mask = _step.pixel_mask(batch["mask"], probabilities.shape[:3])
        num_classes = probabilities.shape[-1]
        rows = probabilities.max(-1), probabilities.argmax(-1).astype(jnp.int32), mask
        thinned = dict(keep_every=1 if in_raster_order else keep_every)

        def of_row(row):
            best, predictions, mask = row
            pixels = predicted_pixels(predictions, mask, num_classes=num_classes)
            if in_raster_order:
                mask &= every_nth_of_class(predictions, every=keep_every, num_classes=num_classes)
            row = (best[None], predictions[None], mask[None])
            return confidence_histogram(*row, num_classes=num_classes, **thinned), pixels

        histograms, pixels = jax.lax.map(of_row, rows)
        return histograms, mean_entropy(probabilities), pixels

    return parallel.compile_map(count, devices)


def mean_entropy(probabilities):
    """The mean over an image's pixels of -sum_c p_c log p_c / log K (IntraDA, entropy.py): float32
    [N] of float32 [N, H, W, K].
    """
    smallest = jnp.finfo(jnp.float32).tiny
    entropies = -(probabilities * jnp.log(jnp.maximum(probabilities, smallest))).sum(-1)
    return entropies.mean((1, 2)) / np.float32(np.log(probabilities.shape[-1]))


def predicted_pixels(predictions, mask, *, num_classes):
    """How many pixels of an image each class is predicted for: int32 [K] of int32 [H, W], and of
    bool [H, W], the pixels that count.
    """
    is_class = predictions[..., None] == jnp.arange(num_classes)[None, None]
    return (is_class & mask[..., None]).sum((0, 1), dtype=jnp.int32)


def _probabilities(logits, resize, is_mean):
    """Of resized logits; a mean of networks has its probabilities resized, as FDA does."""
    return resize(jax.nn.softmax(logits)) if is_mean else jax.nn.softmax(resize(logits))


@functools.lru_cache(maxsize=16)
def _compiled_labels(rule, is_mean, devices):
    """Of one image after the other, so that one is in memory at its own size, which is data."""

    def label(thresholds, batch):
        def label_image(row):
            def resize(logits):
                return resize_into(logits, row["along_height"], row["along_width"])

            probabilities = _probabilities(row["logits"], resize, is_mean)
            if rule != "top":
                labelled = confident_labels if rule == "quantile" else class_balanced_labels
                return labelled(probabilities, thresholds).astype(jnp.uint8)
            is_inside = [
                jnp.arange(side) < row["size_hw"][axis]
                for axis, side in enumerate(probabilities.shape[:2])
            ]
            mask = is_inside[0][:, None] & is_inside[1][None]
            labels, *_ = static_labels_by_rank(
                probabilities[None], thresholds, mask[None], row["rank"][None]
            )
            return labels[0].astype(jnp.uint8)

        return jax.lax.map(label_image, batch)

    return parallel.compile_map(label, devices)


@functools.lru_cache(maxsize=16)
def _predict(model, norm_set, statistics, window, devices):
    """f(variables, images) -> logits at the network's stride, or of images that go through windows
    at their own size.
    """
    predict = predict_scores_by_image if statistics == "image" else predict_scores
    settings = dict(norm_set=norm_set, window=window)
    return parallel.compile_map(functools.partial(predict, model, **settings), devices)


def _thresholds(histogram, config):
    """[K], of the rule, from np.int64 [K, B]."""
    if config.rule == "top":
        return top_thresholds(histogram, fraction=config.share, never=tuple(config.never))
    if config.rule == "class_balanced":
        return portion_thresholds(histogram, portion=config.share)
    return quantile_thresholds(histogram, proportion=config.proportion, cap=config.cap)


def refresh(state, *, data, config, model):
    """See interface.py: thresholds, then labels, below the stage's directory. Finds what a killed
    run has finished.
    """
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    devices, rule, norm_set = tuple(data.devices), config.rule, config.target_bn
    is_mean = isinstance(model, MeanOfNetworks)
    predict = _predict(model, norm_set, config.statistics, data.window, devices)
    if config.statistics == "reestimated":
        estimation = dict(batch_size=config.batch_size, num_batches=config.reestimate_batches)
        variables = reestimate_statistics(
            variables, data=data, model=model, norm_set=norm_set, **estimation
        )
    histogram, entropies, pixels, places = None, [], [], []
    keep_every = 1 if rule == "quantile" else config.keep_every
    for batch in data.target_pass(config.batch_size):
        image_hw = batch["image"].shape[1:3]
        count = _compiled_histogram(
            image_hw, keep_every, rule == "class_balanced", model.align_corners, is_mean, devices
        )
        found = {"logits": predict(variables, batch["image"]), "mask": batch["mask"]}
        rows, of_images, predicted = map(np.asarray, count(parallel.NO_VARIABLES, found))
        found = rows.sum(0, dtype=np.int64)  # [K, B]
        histogram = found if histogram is None else histogram + found
        entropies.append(of_images[batch["mask"]])
        pixels.append(predicted[batch["mask"]])
        places.append(batch["index"][batch["mask"]])
    (histogram,) = processes.total(histogram)
    places = np.concatenate([[], *places]).astype(int)
    entropies, pixels = (
        processes.rows_of_all(np.concatenate(rows) if rows else None, places)
        for rows in (entropies, pixels)
    )
    thresholds = np.asarray(_thresholds(histogram, config), np.float32)

    def labels():
        label = _compiled_labels(rule, is_mean, devices)
        for batch in data.target_pass(config.batch_size):
            logits, sizes = predict(variables, batch["image"]), batch["size_hw"]
            room_hw = batch["room_hw"][0].tolist()
            rows = {"logits": logits} | interpolations(
                logits.shape[1:3], sizes, room_hw, align_corners=model.align_corners
            )
            if rule == "top":
                ranks = [static_rank(int(h * w), config.image_share) for h, w in sizes]
                rows |= {"size_hw": sizes, "rank": np.int32(ranks)}
            made = np.asarray(label(thresholds, rows))
            for row in np.flatnonzero(batch["mask"]):
                height, width = sizes[row]
                yield int(batch["index"][row]), made[row, :height, :width]

    found = dict(thresholds=thresholds, entropies=entropies, pixels=pixels)
    origin = {"rule": rule} | {name: values.tolist() for name, values in found.items()}
    data.write_pseudo_labels(labels(), origin)
    summary = {
        f"threshold_{name}": float(value)
        for name, value in zip(data.class_names, thresholds, strict=True)
    }
    done = state.replace(step=state.step + 1, extra={"thresholds": jnp.asarray(thresholds)})
    return done, summary, []
