"""What the networks predict, as pictures."""

import numpy as np
from PIL import Image

from dajax.analysis import plots
from dajax.analysis.html import Picture, Section, Text
from dajax.analysis.predictions import by_confidence, softmax, worst_failures
from dajax.analysis.samples import some_rows
from dajax.ops.pictures import colored, error_map
from dajax.predict.legend import legend
from dajax.report.context import SEED
from dajax.tasks.segmentation.domains import label_space

SHOWN = 4  # scenes in a picture
FAILURES = 24  # images of a classifier: three rows
_CONFIDENT = 16  # the surest and the least sure ones: two rows each
_PANEL_WIDTH = 340  # pixels of a scene in a picture, ours
_GAP = 6  # pixels between panels


def failures(context):
    """Section: what a classifier is wrong about and does not doubt; None for a segmenter.

    Raises:
      LeftOut: the target has no labels, or cannot be read.
    """
    if context.task != "classification":
        return None
    context.labelled("a list of failures")
    blocks = []
    for network in context.networks[-1:] if len(context.runs) == 1 else context.networks:
        sample = context.sample(network, "target")
        probabilities = softmax(sample.logits)
        worst = worst_failures(probabilities, sample.labels, FAILURES)
        wrong = int((probabilities.argmax(-1) != sample.labels).sum())
        told = f"{network.label}: {wrong} of the {len(sample.rows)} sampled target images are wrong"
        if not wrong:
            blocks.append(Text(told + "."))
            continue
        titles = [
            f"{context.class_names[k]}, not {context.class_names[truth]}\n{p:.0%} sure"
            for k, truth, p in zip(
                probabilities[worst].argmax(-1),
                sample.labels[worst],
                probabilities[worst].max(-1),
                strict=True,
            )
        ]
        drawn = plots.image_grid(_images(context, network, sample.rows[worst]), titles)
        caption = f"{told}; these {len(worst)} are those that the network is surest about."
        blocks.append(Picture(f"failures_{network.label}", drawn, caption))
    return Section("failures", "Failures, the surest first", blocks)


def confidence(context):
    """Section: the images of which a classifier is surest and least sure; None for a segmenter."""
    if context.task != "classification":
        return None
    blocks = []
    for network in context.networks[-1:] if len(context.runs) == 1 else context.networks:
        sample = context.sample(network, "target")
        probabilities = softmax(sample.logits)
        for rows, word in zip(
            by_confidence(probabilities, _CONFIDENT), ("surest", "least sure"), strict=True
        ):
            titles = [
                f"{context.class_names[k]}\n{p:.0%}"
                for k, p in zip(
                    probabilities[rows].argmax(-1), probabilities[rows].max(-1), strict=True
                )
            ]
            drawn = plots.image_grid(_images(context, network, sample.rows[rows]), titles)
            caption = f"{network.label}: the target images that it is {word} about, and its class."
            name = f"{word.replace(' ', '_')}_{network.label}"
            blocks.append(Picture(name, drawn, caption))
    return Section("predictions", "Predictions on the target", blocks)


def _images(context, network, rows):
    images = context.images_of(network, "target")
    return [images.read(row) for row in rows]


def scenes(context):
    """Section: target images with the classes that each network sees in them, and the true ones
    where there are some; None for a classifier.
    """
    if context.task != "segmentation":
        return None
    first = context.networks[0]
    images = context.images_of(first, "target")
    palette = label_space(first.run.config, first.run.workdir).palette
    rows = some_rows(len(images), SHOWN, seed=SEED)
    lines, counts = [], np.zeros(len(palette), np.int64)
    networks = [first, context.networks[-1]] if len(context.runs) == 1 else context.networks
    networks = list({network.label: network for network in networks}.values())
    titles = ["image", *(network.label for network in networks)]
    for row in rows:
        image = images.read_image(row)
        maps = [network.trained.predict([image])[0] for network in networks]
        panels = [image, *(colored(classes, palette) for classes in maps)]
        shown = maps[-1]
        if images.has_labels and images.label_scale == 1:
            label = images.read_label(row)
            panels += [colored(label, palette), error_map(maps[-1], label)]
            shown = np.concatenate([maps[-1].ravel(), label.ravel()])
        counts += np.bincount(shown.ravel(), minlength=256)[: len(palette)]
        lines.append(np.concatenate([_panel(panel) for panel in panels], axis=1))
    if images.has_labels and images.label_scale == 1:
        titles += ["label", f"errors of {networks[-1].label}"]
    width = min(line.shape[1] for line in lines)
    below = legend(width, counts / max(counts.sum(), 1), palette, context.class_names)
    picture = np.concatenate([*(line[:, :width] for line in lines), below])
    caption = (
        f"From left to right: {', '.join(titles)}. The legend gives the share of each class in"
        " what is shown of the last network"
        + (
            " and the labels; red: wrong, green: right, black: not counted."
            if len(titles) > len(networks) + 1
            else "."
        )
    )
    return Section("scenes", "Predictions on the target", [Picture("scenes", picture, caption)])


def _panel(picture):
    """A picture of the common width, with a white edge: uint8 [h, _PANEL_WIDTH + _GAP, 3]."""
    height = round(picture.shape[0] * _PANEL_WIDTH / picture.shape[1])
    size = (_PANEL_WIDTH, max(height, 1))
    resized = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST))
    return np.pad(resized, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
