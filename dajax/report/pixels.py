"""What is said of pixels and their labels: frequencies, BiCL's kinds of labels, PLCA's maps."""

import numpy as np

from dajax.analysis import figures, plots
from dajax.analysis.html import Picture, Section, Table, Text
from dajax.analysis.pixel_labels import Quality, bicl_labels, class_counts
from dajax.analysis.samples import some_rows
from dajax.analysis.similarity_maps import pixel_inside, similarity_map
from dajax.methods.segmentation.bicl import LOWEST_SCORE
from dajax.ops.confidence import fraction_threshold
from dajax.ops.prototypes import domain_bias
from dajax.ops.resize import resize_nearest_legacy
from dajax.report.runs import LeftOut
from dajax.report.seen import SEED, pixel_outputs
from dajax.tasks.segmentation.pseudo_label_feed import PSEUDO_LABELS
from data_pipeline.segmentation import pseudo_label_files

_LEAST_SHARE = 0.02  # of an image's pixels, of a class to choose a pixel from, ours
_TRIED = 40  # images that a pair with a common class is looked for in


def frequencies(context):
    """Section: how often each class is there, in the source's labels, in the target's pseudo-labels
    and predictions, and in its true labels where there are some (SPCL, figure 6).
    """
    network = context.networks[-1]
    if context.task == "classification":
        counts = _image_counts(context, network)
    else:
        counts = _pixel_counts(context, network)
    shares = {name: 100 * row / max(row.sum(), 1) for name, row in counts.items()}
    unit = "images" if context.task == "classification" else "pixels"
    is_pixels = context.task == "segmentation"
    settings = dict(ylabel=f"% of the {unit}", log=is_pixels)
    drawn = plots.bars(shares, figures.series_colors(shares), context.class_names, **settings)
    caption = f"Share of each class, of a sample of at most {context.samples:,} images a domain."
    picture = Picture("frequencies", drawn, caption)
    rows = [
        [name, *(float(row[k]) for row in shares.values())]
        for k, name in enumerate(context.class_names)
    ]
    table = Table(["class", *shares], rows, title="In per cent", folded=True, digits=3)
    return Section("frequencies", "Frequencies of the classes", [picture, table])


def _image_counts(context, network):
    size = len(context.class_names)
    source, target = (context.sample(network, domain) for domain in ("source", "target"))
    counts = {
        "source, labels": class_counts(source.labels, size),
        f"target, predictions of {network.label}": class_counts(target.logits.argmax(-1), size),
    }
    if target.labels is not None:
        counts["target, true classes"] = class_counts(target.labels, size)
    return counts


def _pixel_counts(context, network):
    size = len(context.class_names)
    source, target = (context.sample(network, domain) for domain in ("source", "target"))
    counts = {"source, labels": source.label_counts}
    domains = network.run.domains
    for stage in network.run.stages:
        folder = stage.directory / PSEUDO_LABELS
        if folder.is_dir():
            made = pseudo_label_files.read(folder, domains.target.without_labels())
            rows = some_rows(len(made), context.samples, seed=SEED)
            total = sum(class_counts(made.read_label(row), size) for row in rows)
            counts[f"target, pseudo-labels of {stage.label}"] = total
    counts[f"target, predictions of {network.label}"] = target.prediction_counts
    if target.label_counts is not None:
        counts["target, true classes"] = target.label_counts
    return counts


def bicl_kinds(context):
    """Section: density and accuracy of static, dynamic, calibrated and hybrid labels (BiCL's table
    4), of the stages of that method; None without one.

    Raises:
      LeftOut: the target has no labels, or the data cannot be read.
    """
    stages = [network for network in context.networks if _has_dynamic_labels(network)]
    if not stages:
        return None
    rows = []
    for network in stages:
        target = network.run.domains.target
        if not target.has_labels:
            raise LeftOut(f"{target.name} has no labels, and accuracy needs the true classes")
        for kind, quality in _qualities(context, network).items():
            rows.append([network.label, kind, quality.density, quality.accuracy])
    text = Text(
        "Density: share of the pixels with a true class that have such a label; accuracy: how many"
        " of those labels are right. On the grid of the features, running statistics, source"
        " prototypes over the sampled source images. The slides, GTA5 to Cityscapes: static 20.1 /"
        " 98.5, dynamic without calibration 22.2 / 98.6, with it 34.3 / 98.6, hybrid 42.3 / 98.8."
    )
    table = Table(["stage", "labels", "density %", "accuracy %"], rows)
    return Section("bicl-labels", "Static, dynamic, calibrated and hybrid labels", [text, table])


def _has_dynamic_labels(network):
    config = network.stage.config
    return config.method == "bicl" and config.dynamic.on and "mu_source" in network.trained.extra


def _qualities(context, network):
    """{kind: Quality} over sampled target images."""
    config, extra = network.stage.config, network.trained.extra
    num_classes = len(context.class_names)
    target = network.run.domains.target
    folder = network.run.workdir / config.labels_from / PSEUDO_LABELS
    if not folder.is_dir():
        raise LeftOut(f"the pseudo-labels in {folder} are gone")
    made = pseudo_label_files.read(folder, target.without_labels())
    pixels, sums, _ = context.sample(network, "source").moments
    centers = (sums / np.maximum(pixels, 1)[:, None]).astype(np.float32)
    names = ("mu_source", "known_source", "mu_target", "known_target")
    bias = domain_bias(*(extra[name] for name in names)) * config.dynamic.calibrate
    threshold = config.dynamic.threshold
    if config.dynamic.share:
        lowest = LOWEST_SCORE[config.dynamic.score]
        share = config.dynamic.share
        threshold = fraction_threshold(extra["scores"], fraction=share, lowest=lowest)
    found = {}
    rows = some_rows(len(target), context.samples, seed=SEED)
    outputs = pixel_outputs(network, "target", target, rows)
    for row, (features, _, truth) in zip(rows, outputs, strict=True):
        static = resize_nearest_legacy(made.read_label(row)[None], features.shape[:2])
        kinds = bicl_labels(
            features[None],
            static.astype(np.int32),
            (centers, pixels > 0),
            bias,
            threshold=threshold,
            score=config.dynamic.score,
            temperature=config.temperature,
            priority=config.priority,
        )
        for kind, labels in kinds.items():
            found.setdefault(kind, Quality()).add(labels, truth[None], num_classes)
    return found


def similarities(context):
    """Section: the similarity of a chosen source pixel to all pixels of a target image, in each
    network's features (PLCA, figure 2); None for a classifier.

    The pixel is of the rarest class that both images show enough of; in the target by the
    prediction of the last network, so that no label of the target is needed.
    """
    if context.task != "segmentation":
        return None
    networks = list(
        {network.label: network for network in (context.networks[0], context.networks[-1])}.values()
    )
    chosen = _pair(context, networks[-1])
    if chosen is None:
        raise LeftOut("no class covers enough of a source and of a target image")
    rows, class_id = chosen
    maps, pixel = {}, None
    for network in networks:
        seen = {}
        for domain, row in rows.items():
            images = context.images_of(network, domain)
            ((features, _, labels),) = pixel_outputs(network, domain, images, np.array([row]))
            seen[domain] = features
            if domain == "source":
                pixel = pixel_inside(labels, class_id)
        pair = (similarity_map(seen["source"], pixel, seen[domain]) for domain in rows)
        maps[network.label] = tuple(pair)
    shape = seen["source"].shape
    pictures = [context.images_of(networks[0], d).read_image(row) for d, row in rows.items()]
    place = (pixel[0] + 0.5) / shape[0], (pixel[1] + 0.5) / shape[1]
    drawn = plots.similarity_panels(*pictures, maps, source_pixel=place)
    caption = (
        f"A pixel of “{context.class_names[class_id]}” in a source image (star), and the cosine of"
        " its feature with those of all pixels, contrast-normalised as in PLCA's eq. 5. A network"
        " that has aligned the domains is red on the same class in the target image."
    )
    picture = Picture("similarities", drawn, caption)
    return Section("similarities", "Similarity to a chosen pixel", [picture])


def _pair(context, network):
    """({domain: row of its set}, class) of two images that share a class, the rarest; None where
    none do.
    """
    shares = {}
    for domain in ("source", "target"):
        images = context.images_of(network, domain)
        rows = context.sample(network, domain).rows[:_TRIED]
        outputs = pixel_outputs(network, domain, images, rows)
        shares[domain] = [
            (
                row,
                _shares(
                    labels if domain == "source" else logits.argmax(-1), len(context.class_names)
                ),
            )
            for row, (_, logits, labels) in zip(rows, outputs, strict=True)
        ]
    for class_id in np.argsort(context.sample(network, "source").label_counts, kind="stable"):
        best = {
            domain: max(found, key=lambda pair: pair[1][class_id])
            for domain, found in shares.items()
        }
        if all(share[class_id] >= _LEAST_SHARE for _, share in best.values()):
            return {domain: row for domain, (row, _) in best.items()}, int(class_id)
    return None


def _shares(classes, num_classes):
    return class_counts(classes, num_classes) / classes.size
