"""What the networks predict, as pictures."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dajax.analysis import plots
from dajax.analysis.html import Picture, Section, Text
from dajax.analysis.pixel_labels import class_counts
from dajax.analysis.predictions import least_sure, softmax, worst_failures
from dajax.analysis.samples import some_rows
from dajax.ops.pictures import colored, error_map
from dajax.predict.legend import legend
from dajax.report.seen import SEED
from dajax.tasks.segmentation.domains import label_space

SHOWN = 4  # scenes in a picture
FAILURES = 24  # images of a classifier: three rows
_SHOWN_IMAGES = 16  # two rows
_PANEL_WIDTH = 340  # pixels of a scene in a picture, ours
_GAP = 6  # pixels between panels
_LETTERS = 22  # pixels, of the titles above them


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
        told = f"{network.label}: {wrong} of {len(sample.rows)} sampled target images are wrong"
        if not wrong:
            blocks.append(Text(told + "."))
            continue
        told += ", all of them are here" if len(worst) == wrong else f", here are {len(worst)}"
        titles = [
            f"{context.class_names[k]}, not {context.class_names[truth]}\n{p:.1%} sure"
            for k, truth, p in zip(
                probabilities[worst].argmax(-1),
                sample.labels[worst],
                probabilities[worst].max(-1),
                strict=True,
            )
        ]
        drawn = plots.image_grid(_images(context, network, sample.rows[worst]), titles)
        caption = f"{told}, beginning with those that the network is surest about."
        blocks.append(Picture(f"failures_{network.label}", drawn, caption))
    return Section("failures", "Failures, the surest first", blocks)


def confidence(context):
    """Section: what a classifier says of random target images, and those that it is least sure
    about; None for a segmenter.
    """
    if context.task != "classification":
        return None
    blocks = []
    for network in context.networks[-1:] if len(context.runs) == 1 else context.networks:
        sample = context.sample(network, "target")
        probabilities = softmax(sample.logits)
        for rows, name, words in (
            (
                some_rows(len(probabilities), _SHOWN_IMAGES, seed=SEED),
                "random",
                "target images drawn at random",
            ),
            (
                least_sure(probabilities, _SHOWN_IMAGES),
                "least_sure",
                "the target images that it is least sure about",
            ),
        ):
            titles = [
                f"{context.class_names[k]}\n{p:.1%}"
                for k, p in zip(
                    probabilities[rows].argmax(-1), probabilities[rows].max(-1), strict=True
                )
            ]
            drawn = plots.image_grid(_images(context, network, sample.rows[rows]), titles)
            caption = f"{network.label}: {words}, its class and how sure it is."
            blocks.append(Picture(f"{name}_{network.label}", drawn, caption))
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
    pictures = [images.read_image(row) for row in rows]
    networks = [first, context.networks[-1]] if len(context.runs) == 1 else context.networks
    maps = {network.label: network.trained.predict(pictures) for network in networks}
    last = networks[-1].label
    titles, counted = ["image", *maps], list(maps[last])
    panels = [pictures, *([colored(x, palette) for x in found] for found in maps.values())]
    has_labels = images.has_labels and images.label_scale == 1
    if has_labels:
        labels = [images.read_label(row) for row in rows]
        errors = [error_map(*pair) for pair in zip(maps[last], labels, strict=True)]
        panels += [[colored(label, palette) for label in labels], errors]
        titles += ["label", f"errors of {last}"]
        counted += labels
    counts = sum(class_counts(classes, len(palette)) for classes in counted)
    lines = [_line(row) for row in zip(*panels, strict=True)]
    below = legend(lines[0].shape[1], counts / max(counts.sum(), 1), palette, context.class_names)
    picture = np.concatenate([_head(titles), *lines, below])
    caption = f"Random target images; the legend gives shares of what {last} predicts"
    caption += " and of the labels. Red: wrong, green: right, black: not counted" * has_labels
    shown = Picture("scenes", picture, f"{caption}.")
    return Section("scenes", "Predictions on the target", [shown])


def _head(titles):
    """The titles of the columns on white, uint8 [h, n * (_PANEL_WIDTH + _GAP), 3]."""
    column, font = _PANEL_WIDTH + _GAP, ImageFont.load_default(_LETTERS)
    canvas = Image.new("RGB", (column * len(titles), 2 * _LETTERS), "white")
    draw = ImageDraw.Draw(canvas)
    for i, title in enumerate(titles):
        draw.text((i * column, _LETTERS), title, fill="black", font=font, anchor="lm")
    return np.asarray(canvas)


def _line(pictures):
    """Pictures side by side, each _PANEL_WIDTH wide and as tall as the first then is, with white
    edges.
    """
    height, width = pictures[0].shape[:2]
    size = (_PANEL_WIDTH, max(round(height * _PANEL_WIDTH / width), 1))
    resized = [
        np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST))
        for picture in pictures
    ]
    edges = ((0, _GAP), (0, _GAP), (0, 0))
    return np.concatenate([np.pad(x, edges, constant_values=255) for x in resized], axis=1)
