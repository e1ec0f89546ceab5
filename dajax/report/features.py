"""What the networks' features say of the two domains: pictures and distances."""

import numpy as np

from dajax.analysis import figures, optional, plots
from dajax.analysis.domain_distance import MIN_ROWS, cluster_center_distance, proxy_a_distance
from dajax.analysis.embedding import MIN_POINTS, tsne, unit_rows
from dajax.analysis.html import Picture, Section, Table, Text
from dajax.analysis.samples import some_rows
from dajax.errors import UserError
from dajax.ops.class_center_distance import class_center_distance, class_moments
from dajax.report.context import DOMAINS
from dajax.report.runs import LeftOut
from dajax.report.seen import SEED
from dajax.tasks.segmentation.domains import label_space

TSNE_IMAGES = 400  # of each domain in a picture, ours: more dots cover each other
SNAPSHOTS = 8  # of a stage in a figure over training at most, ours
# The same images or pixels for every network.
_SAMPLED = "a random sample of at most {samples:,} images of each domain, the same for each network"


def image_embedding(context):
    """Section: t-SNE of both domains' images, one picture for each network.

    Raises:
      LeftOut: scikit-learn is missing, the data cannot be read, or there are too few images.
    """
    _needs_sklearn()
    panels = {}
    for network in context.networks:
        sets, classes = {}, {}
        for domain in DOMAINS:
            sample = context.sample(network, domain)
            labels = sample.labels if context.task == "classification" else None
            kept = some_rows(len(sample.image_features), TSNE_IMAGES, seed=SEED)
            sets[domain] = sample.image_features[kept]
            classes[domain] = None if labels is None else labels[kept]
        panels[network.label] = _embedded(sets, classes)
    names = context.class_names
    colors = figures.class_colors(len(names))
    if context.task == "segmentation":
        what = "A point is an image, its feature the mean over all of its pixels."
    elif all(panel["target"][1] is not None for panel in panels.values()):
        what = "Colours are classes; of the target the true ones, which serve this picture alone."
    else:
        what = "Colours are classes; the target has no labels and is grey."
    drawn = plots.scatter(panels, colors, names)
    caption = f"t-SNE of the features of images, one embedding of both domains a network. {what}"
    return Section("image-embedding", "t-SNE of images", [Picture("tsne_images", drawn, caption)])


def pixel_embedding(context):
    """Section: t-SNE of pixels of both domains, as even a share of each class as there is (CLAN
    figure 3, SPCL figure 4); None for a classifier.

    Raises:
      LeftOut: as image_embedding.
    """
    if context.task != "segmentation":
        return None
    _needs_sklearn()
    panels, has_labels = {}, True
    for network in context.networks:
        samples = {domain: context.sample(network, domain) for domain in DOMAINS}
        has_labels &= samples["target"].has_labels
        panels[network.label] = _embedded(
            {domain: sample.features for domain, sample in samples.items()},
            {domain: sample.classes for domain, sample in samples.items()},
        )
    first = context.networks[0].run
    palette = label_space(first.config, first.workdir).palette / 255
    drawn = plots.scatter(panels, palette, context.class_names)
    whose = "true classes" if has_labels else "true classes in the source, predicted in the target"
    caption = (
        "t-SNE of the features of single pixels, drawn so that rare classes have as many as there"
        f" are; one embedding of both domains a network. Colours are {whose}."
    )
    picture = Picture("tsne_pixels", drawn, caption)
    return Section("pixel-embedding", "t-SNE of pixels", [picture])


def _needs_sklearn():
    try:
        optional.load("sklearn.manifold")
    except UserError as missing:
        raise LeftOut(str(missing)) from missing


def _embedded(sets, classes):
    """{domain: (points, classes)} of one embedding of all domains together."""
    counts = [len(rows) for rows in sets.values()]
    if sum(counts) < MIN_POINTS:
        raise LeftOut(f"{sum(counts)} images are too few for t-SNE, which needs {MIN_POINTS}")
    points = tsne(np.concatenate(list(sets.values())), seed=SEED)
    parts = np.split(points, np.cumsum(counts)[:-1])
    return {domain: (part, classes[domain]) for domain, part in zip(sets, parts, strict=True)}


def a_distance(context):
    """Section: the proxy A-distance between the domains in each network's features.

    Raises:
      LeftOut: the data cannot be read, or there are too few images.
    """
    values = {}
    for network in context.networks:
        rows = {}
        for domain in DOMAINS:
            rows[domain] = context.sample(network, domain).image_features
            if len(rows[domain]) < MIN_ROWS:
                raise LeftOut(
                    f"the {domain} has {len(rows[domain])} images; two halves need {MIN_ROWS}"
                )
        values[network.label] = proxy_a_distance(*(rows[d] for d in DOMAINS), seed=SEED)
    what = "images" if context.task == "classification" else "images, means over their pixels,"
    text = Text(
        "2 (1 - 2 err) of a linear classifier that tells source from target by the features of"
        f" {what} on held-out halves: 2 where the domains are separable, 0 where they cannot be"
        " told apart. It needs no labels, and says nothing of classes: domains that are mixed"
        " wrongly have 0 too."
    )
    shown = {label: [value] for label, value in values.items()}
    name = next(iter(values)) if len(values) == 1 else ""  # several have a legend
    drawn = plots.bars(shown, context.colors, [name], ylabel="proxy A-distance")
    caption = f"Proxy A-distance; {_SAMPLED.format(samples=context.samples)}."
    table = Table(["", "proxy A-distance"], [[k, v] for k, v in values.items()], digits=3)
    return Section("a-distance", "A-distance", [text, table, Picture("a_distance", drawn, caption)])


def moments(context, network, *, unit):
    """{domain: moments of ops.class_center_distance.class_moments} of a network's features.

    Args:
      unit: whether features are scaled to length 1 first.
    """
    found = {}
    for domain in DOMAINS:
        sample = context.sample(network, domain)
        if context.task == "segmentation":
            found[domain] = sample.unit_moments if unit else sample.moments
        else:
            features = unit_rows(sample.features) if unit else sample.features
            found[domain] = class_moments(features, sample.labels, len(context.class_names))
    return found


def centers(context):
    """Section: CLAN's distance between the domains' centers of each class (figures 4 and 6) and
    SPCL's ratio (figure 5), of each network, and over training where snapshots exist.

    Raises:
      LeftOut: the target has no labels, or the data cannot be read.
    """
    context.labelled("a distance between classes")
    gaps, ratios, rows = {}, {}, []
    for network in context.networks:
        gap, ratio = distances(context, network, unit=True)
        raw_gap, raw_ratio = distances(context, network, unit=False)
        gaps[network.label], ratios[network.label] = gap, ratio
        rows.append([network.label, *map(_mean, (gap, ratio, raw_gap, raw_ratio))])
    head = ["mean over classes", "center distance", "SPCL's ratio", "distance, raw", "ratio, raw"]
    what = "pixels" if context.task == "segmentation" else "images"
    text = Text(
        "Center distance (CLAN): how far the means of a class's features in the source and in the"
        " target are apart. Ratio (SPCL): scatter of a class around its center, of both domains"
        " together, over the squared distance to another class's center, averaged over the others."
        " Smaller is better aligned and tighter. Features are scaled to length 1, so that networks"
        f" can be compared; “raw” is without. True classes of {what};"
        f" {_SAMPLED.format(samples=context.samples)}."
    )
    names = context.class_names
    blocks = [
        text,
        Table(head, rows, digits=3),
        Picture(
            "center_distance",
            plots.bars(gaps, context.colors, names, ylabel="center distance"),
            "CLAN's center distance of each class, features of length 1.",
        ),
        Picture(
            "center_ratio",
            plots.bars(ratios, context.colors, names, ylabel="ratio"),
            "SPCL's ratio of each class, features of length 1.",
        ),
    ]
    blocks += _over_training(context)
    return Section("centers", "Distances between class centers", blocks)


def distances(context, network, *, unit):
    """(CLAN's distance float64 [K], SPCL's ratio float64 [K]); NaN where a class is absent."""
    source, target = (moments(context, network, unit=unit)[domain] for domain in DOMAINS)
    both = tuple(a + b for a, b in zip(source, target, strict=True))
    return cluster_center_distance(source, target), class_center_distance(both)


def _over_training(context):
    """The same, mean over classes, at each snapshot; [] where no stage has kept three."""
    panels = {"center distance": {}, "SPCL's ratio": {}}
    for network in context.networks:
        kept = [*context.snapshots(network, SNAPSHOTS)] if len(network.stage.snapshots) > 2 else []
        found = [(one.trained.step, *distances(context, one, unit=True)) for one in kept]
        for i, curve in enumerate(panels.values(), start=1):
            if found:
                steps = [row[0] for row in found]
                curve[network.label] = (steps, [_mean(row[i]) for row in found])
    if not any(panels.values()):
        return [
            Text(
                "Over training: no stage has kept three checkpoints;"
                " config.runtime.keep_every=N keeps those of every N-th step."
            )
        ]
    caption = "The same, the mean over classes, at the checkpoints that the stages have kept."
    return [
        Picture("centers_over_training", plots.lines(panels, context.colors, columns=2), caption)
    ]


def _mean(values):
    """The mean of those that are no NaN; None of none."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else None
