"""The figures of a report, of arrays alone. Each function returns a matplotlib Figure.

Raises everywhere: UserError where matplotlib is not installed.
"""

import numpy as np

from dajax.analysis import figures
from dajax.analysis.curves import smoothed

_FEW_CLASSES = 12  # up to so many a confusion matrix has its numbers written in
_NAMED_CLASSES = 40  # up to so many classes have their names at an axis
_SMOOTH_FROM = 60  # points of a curve, from which its running mean is drawn over it
_MARKERS = {"source": "o", "target": "x"}
_DOMAIN_COLORS = {"source": figures.SERIES[2], "target": figures.SERIES[1]}
_HANDLE = 6  # letters that the line before a legend's text and the gap after it take
_SMOOTH_SHARE = 20  # the mean is over a 20th of the points


@figures.styled
def lines(panels, colors, *, columns=4):
    """A panel for each figure, a line over steps for each network in it.

    Args:
      panels: {title: {label: (steps, values)}}.
      colors: {label: colour}, of these labels and perhaps of others.
      columns: panels in a row at most.
    """
    labels = {label for curves in panels.values() for label in curves}
    figure, axes = figures.grid(len(panels), columns, panel=(2.9, 2.1))
    for axis, (title, curves) in zip(axes, panels.items(), strict=True):
        axis.set_title(title.replace("_", " "))
        for label, (steps, values) in curves.items():
            color = colors[label]
            if len(values) < _SMOOTH_FROM:
                marker = "o" if len(values) < _SMOOTH_FROM // 3 else None
                axis.plot(steps, values, color=color, marker=marker, markersize=3, linewidth=1.3)
                continue
            axis.plot(steps, values, color=color, linewidth=0.7, alpha=0.3)
            mean = smoothed(values, max(len(values) // _SMOOTH_SHARE, 2))
            axis.plot(steps, mean, color=color, linewidth=1.5)
    for axis in axes[-min(columns, len(axes)) :]:
        axis.set_xlabel("step")
    _legend(figure, {label: color for label, color in colors.items() if label in labels})
    return figure


def _legend(figure, colors):
    """One legend above all panels: {label: colour}."""
    from matplotlib.lines import Line2D

    if len(colors) > 1:
        handles = [Line2D([], [], color=color, linewidth=2) for color in colors.values()]
        labels = [figures.wrapped(label, figure.get_figwidth()) for label in colors]
        longest = max(len(line) for label in labels for line in label.splitlines())
        room = int(figure.get_figwidth() * figures.LETTERS / (longest + _HANDLE))
        columns = max(min(len(colors), 6, room), 1)
        figure.legend(handles, labels, loc="outside upper left", ncols=columns)


@figures.styled
def confusions(matrices, class_names):
    """Confusion matrices side by side, each row in per cent of its true class.

    Args:
      matrices: {title: int [K, K]}, rows the true class.
      class_names: K names.
    """
    size = len(class_names)
    side = min(max(2.2 + 0.13 * size, 3.2), 7.0)
    figure, axes = figures.grid(len(matrices), 3 if side < 4.5 else 2, panel=(side, side))
    for axis, (title, matrix) in zip(axes, matrices.items(), strict=True):
        counts = np.asarray(matrix, np.float64)
        shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
        shares[counts.sum(1) == 0] = np.nan
        drawn = axis.imshow(shares, vmin=0, vmax=100, cmap=figures.SEQUENTIAL)
        axis.set(title=figures.wrapped(title, 0.85 * side), xlabel="predicted", ylabel="true class")
        axis.grid(False)
        _name_classes(axis.set_xticks, class_names, rotation=90)
        _name_classes(axis.set_yticks, class_names)
        if size <= _FEW_CLASSES:
            for (row, column), share in np.ndenumerate(shares):
                if share >= 0.5:
                    color = "white" if share > 55 else figures.INK
                    settings = dict(ha="center", va="center", fontsize=7, color=color)
                    axis.text(column, row, f"{share:.0f}", **settings)
    figure.colorbar(drawn, ax=axes, shrink=0.6, label="% of the class")
    return figure


def _name_classes(set_ticks, class_names, **settings):
    if len(class_names) <= _NAMED_CLASSES:
        small = 8 if len(class_names) <= 20 else 6.5
        set_ticks(range(len(class_names)), class_names, fontsize=small, **settings)


@figures.styled
def bars(values, colors, names, *, ylabel, log=False):
    """For each class, or whatever `names` are, a group of bars, one for each network.

    Args:
      values: {label: K numbers, None or NaN for none}.
      colors: {label: colour}, of these labels and perhaps of others.
      names: K names.
      log: whether the axis is logarithmic.
    """
    places = np.arange(len(names), dtype=float)
    width = 0.8 / len(values)
    per_group = 0.28 + 0.1 * len(values)
    figure, ((axis,),) = figures.new(1, 1, panel=(min(2.6 + per_group * len(places), 11.6), 2.6))
    for i, (label, row) in enumerate(values.items()):
        heights = np.array([np.nan if x is None else x for x in row], float)
        axis.bar(places + (i + 0.5) * width - 0.4, heights, 0.92 * width, color=colors[label])
    axis.set(ylabel=ylabel, xlim=(-0.55, len(places) - 0.45))
    if log:
        axis.set_yscale("log")
        smallest = min((x for row in values.values() for x in row if x and x > 0), default=1)
        axis.set_ylim(bottom=10 ** np.floor(np.log10(smallest)))  # so that lengths can be compared
    _name_classes(axis.set_xticks, names, rotation=60 if len(places) > 10 else 0)
    axis.grid(False, axis="x")
    _legend(figure, {label: colors[label] for label in values})
    return figure


@figures.styled
def heat_maps(tables, class_names, *, columns=3):
    """A figure of each class over steps as a map of colours.

    Args:
      tables: {title: (steps, [K numbers or None at each])}.
    """
    height = min(1.0 + 0.17 * len(class_names), 6.0)
    figure, axes = figures.grid(len(tables), columns, panel=(3.9, height))
    for axis, (title, (steps, values)) in zip(axes, tables.items(), strict=True):
        cells = np.array([[np.nan if x is None else x for x in row] for row in values], float).T
        drawn = axis.imshow(cells, aspect="auto", cmap=figures.SEQUENTIAL, interpolation="nearest")
        shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 6)).round().astype(int))
        axis.set_xticks(shown, [steps[i] for i in shown])
        _name_classes(axis.set_yticks, class_names)
        axis.set(title=title.replace("_", " "), xlabel="step")
        axis.grid(False)
        figure.colorbar(drawn, ax=axis)
    return figure


@figures.styled
def scatter(panels, colors, class_names):
    """Points of two domains in the plane, dots the source and crosses the target.

    Args:
      panels: {title: {domain: (float [N, 2], int [N] classes or None)}}.
      colors: float [K, 3] in 0..1, of the classes; where no point has a class, the domains have
        one each.
      class_names: K names.
    """
    from matplotlib.lines import Line2D

    figure, axes = figures.grid(len(panels), 3, panel=(4.3, 4.3))
    found = [classes for panel in panels.values() for _, classes in panel.values()]
    seen = sorted({int(k) for classes in found if classes is not None for k in np.unique(classes)})
    plain = dict.fromkeys(_MARKERS, figures.FAINT) if seen else _DOMAIN_COLORS
    for axis, (title, domains) in zip(axes, panels.items(), strict=True):
        for domain, (points, classes) in domains.items():
            shades = plain[domain] if classes is None else np.asarray(colors)[classes]
            size = 11 if domain == "source" else 15
            settings = dict(marker=_MARKERS[domain], s=size, alpha=0.65, linewidths=0.8)
            settings |= {"edgecolors": "none"} if domain == "source" else {}
            axis.scatter(*points.T, c=shades, **settings)
        axis.set(title=figures.wrapped(title, 4.3), xticks=[], yticks=[])
    domains = list(dict.fromkeys(domain for panel in panels.values() for domain in panel))
    handles = [
        Line2D(
            [],
            [],
            color=figures.INK if seen else plain[domain],
            marker=_MARKERS[domain],
            linestyle="",
            markersize=5,
        )
        for domain in domains
    ]
    shown = seen if len(seen) <= _NAMED_CLASSES else []
    for k in shown:
        handles.append(Line2D([], [], color=colors[k], marker="s", linestyle="", markersize=6))
    labels = [*domains, *(class_names[k] for k in shown)]
    figure.legend(handles, labels, loc="outside lower left", ncols=min(len(labels), 3 * len(axes)))
    return figure


@figures.styled
def image_grid(images, titles, *, columns=8):
    """Small pictures, each under two short lines.

    Args:
      images: list of uint8 [H, W, 1 or 3]. titles: one text each.
    """
    figure, axes = figures.grid(len(images), columns, panel=(1.35, 1.75))
    for axis, image, title in zip(axes, images, titles, strict=True):
        axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray")
        axis.set_title(title, fontsize=7.5, fontweight="normal", loc="center")
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
    return figure


@figures.styled
def similarity_panels(source, target, maps, *, source_pixel):
    """A pixel of a source image, and how similar the pixels of a target image are to it.

    Args:
      source, target: uint8 [H, W, 3].
      maps: {label of a network: (float [h, w] of the source image, the same of the target's)}.
      source_pixel: (row, column) in shares of the height and width, 0..1.
    """
    figure, axes = figures.new(1 + len(maps), 2, panel=(3.6, 1.75 * 2 * _tallness(source)))
    axes[0, 0].imshow(source)
    axes[0, 1].imshow(target)
    axes[0, 0].set_title("source image and the chosen pixel")
    axes[0, 1].set_title("target image")
    bound = max(float(np.abs(x).max()) for pair in maps.values() for x in pair)
    for row, (label, pair) in zip(axes[1:], maps.items(), strict=True):
        for axis, image, similarities in zip(row, (source, target), pair, strict=True):
            extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
            drawn = axis.imshow(similarities, cmap="RdBu_r", vmin=-bound, vmax=bound, extent=extent)
        row[0].set_title(f"{label}: within the source image")
        row[1].set_title(f"{label}: to the target image")
    for axis in axes[:, 0]:
        height, width = source.shape[:2]
        place = source_pixel[1] * width, source_pixel[0] * height
        axis.plot(*place, marker="*", markersize=11, color="#ffd60a", markeredgecolor="black")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
    figure.colorbar(drawn, ax=axes, shrink=0.4, label="deviations above the mean")
    return figure


def _tallness(image):
    return image.shape[0] / image.shape[1]
