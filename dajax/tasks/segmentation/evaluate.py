"""Evaluation of a segmenter on the target: one confusion matrix over all pixels of all images, at
each label's own size.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from dajax import parallel, processes
from dajax.models.apply import segmenter_inference
from dajax.ops.metrics import confusion_matrix, iou_report
from dajax.ops.pictures import panels
from dajax.ops.resize import interpolations, resize_into
from dajax.ops.sliding_window import Window

# pixels; a panel of Cityscapes at full size would be 2048, one of the scenes a stamp
_PANEL_WIDTHS = (256, 512)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a prediction comes about.

    Attributes:
      norm_set: which set of normalisation statistics.
      align_corners: of the bilinear resize to the label's size, see ops.resize.
      aggregation_alpha: spatial aggregation, see models.apply.prediction_scores; 0 for none.
      window: ops.sliding_window.Window, through which images go; None for whole images.
    """

    norm_set: int
    align_corners: bool
    aggregation_alpha: float = 0.0
    window: Window | None = None


@functools.lru_cache(maxsize=32)
def _compiled_count(num_classes, devices):
    """Of one image after the other, so that one is in memory at its label's size."""

    def count_image(row):
        resized = row["scores"]
        if "along_height" in row:
            resized = resize_into(resized, row["along_height"], row["along_width"])
        prediction = jnp.argmax(resized, axis=-1).astype(jnp.int32)  # [H, W]
        mask = jnp.broadcast_to(row["mask"], prediction.shape)
        counts = confusion_matrix(row["label"], prediction, mask, num_classes)
        return counts, prediction.astype(jnp.uint8)

    return parallel.compile_map(lambda _, batch: jax.lax.map(count_image, batch), devices)


def evaluate_segmenter(
    variables, *, data, model, protocol, batch_size, subsets, num_pictures=0, pixels=None
):
    """Counts every pixel of every evaluation image once.

    Scores are brought to the label's size (bilinear) and the class is their argmax, as
    evaluate_cityscapes.py of AdaptSegNet and CLAN does: a 1024x512 input against labels of
    2048x1024. The network is one program; the sizes of the labels concern a second one, in which
    they are data, see ops.resize.resize_into.

    Args:
      variables: {"params", "batch_stats"} by network, as in TrainState.
      data: SegFeed.
      model: segmenter.
      protocol: Protocol.
      batch_size: images at a time.
      subsets: {name: class indices} for further means.
      num_pictures: of the first images.
      pixels: selection.Pixels, which gets the scores before they are resized, or None.

    Returns:
      (report of ops.metrics.iou_report with "confusion", {name: uint8 [H, W, 3]} pictures).
    """
    total, pictures = np.zeros((model.num_classes,) * 2, np.int64), {}
    devices = tuple(data.devices)
    run = segmenter_inference(
        model, protocol.norm_set, protocol.aggregation_alpha, devices, protocol.window
    )
    count = _compiled_count(model.num_classes, devices)
    for batch in data.evaluation(batch_size):
        scores = run(variables, batch["image"])
        sizes, room_hw = batch["size_hw"], batch["label"].shape[1:]
        # Through windows scores may be of the labels' size already: a resize of 2 megapixels to
        # themselves would be two products with matrices of 2048 x 2048.
        matrices = {}
        if not (sizes == scores.shape[1:3]).all() or scores.shape[1:3] != room_hw:
            matrices = interpolations(
                scores.shape[1:3], sizes, room_hw, align_corners=protocol.align_corners
            )
        rows = {"scores": scores, "label": batch["label"], "mask": batch["mask"]}
        counts, predictions = count(parallel.NO_VARIABLES, rows | matrices)
        if pixels is not None:
            pixels.add(scores, batch["mask"], batch["index"])
        # 500 frames of 2 megapixels come near to int32's end
        total += np.asarray(counts).sum(0, dtype=np.int64)
        for row in np.flatnonzero(batch["mask"])[: num_pictures - len(pictures)]:
            index, (height, width) = int(batch["index"][row]), sizes[row]
            pictures[f"{index:04d}"] = picture_of(
                data.evaluation_image(index),
                np.asarray(predictions[row])[:height, :width],
                batch["label"][row, :height, :width].astype(np.uint8),
                data.space.palette,
            )
    (total,) = processes.total(total)
    return iou_report(total, data.class_names, subsets) | {"confusion": total.tolist()}, pictures


def picture_of(image, prediction, label, palette):
    """Image, prediction and, where it is not None, label side by side, each as wide as
    _PANEL_WIDTHS allows: uint8 [H, wide, 3].
    """
    narrowest, widest = _PANEL_WIDTHS
    new_width = min(max(prediction.shape[1], narrowest), widest)
    height, width = round(prediction.shape[0] * new_width / prediction.shape[1]), new_width

    def resized(classes):
        made = Image.fromarray(classes).resize((width, height), Image.Resampling.NEAREST)
        return np.asarray(made)

    image = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    label = None if label is None else resized(label)
    return panels(np.asarray(image), resized(prediction), label, palette)


def pseudo_label_quality(data):
    """How many of the target's pixels with a label have a pseudo-label (density), and how many of
    those are right (accuracy), in per cent.

    For the log only: nothing in training may read it.

    Args:
      data: SegFeed.

    Returns:
      {"density", "accuracy", "accuracy_<class>"}, without the classes that no pseudo-label names;
        {} without labels.
    """
    names = data.class_names
    size = len(names)
    counts = np.zeros((size, size), np.int64)  # [label, pseudo-label]
    labelled = 0
    for pseudo, label in data.pseudo_label_pairs():
        labelled += int((label < size).sum())
        counted = (label < size) & (pseudo < size)
        cells = label[counted].astype(np.int64) * size + pseudo[counted]
        counts += np.bincount(cells, minlength=size * size).reshape(size, size)
    given = counts.sum(0)
    if not labelled or not given.any():
        return {}
    quality = {
        "density": 100 * given.sum() / labelled,
        "accuracy": 100 * np.trace(counts) / given.sum(),
    }
    quality |= {
        f"accuracy_{names[k]}": 100 * counts[k, k] / given[k] for k in np.flatnonzero(given)
    }
    return {name: float(value) for name, value in quality.items()}
