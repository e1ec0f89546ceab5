"""A published table with what was measured here beside it.

Everywhere: `rows` are (name, whether its figures are of the best snapshots by the target's labels,
figures or None in the order of `columns`), `measured` and `best` {(name, column): a number or None
for each seed}, at the last step and of the best snapshot.
"""

import csv
import io
import statistics

from dajax.analysis.sweep_tables import MISSING, mean_and_spread

MEAN = "mean"  # a column that no run measures
LEGEND = (
    "published / measured here, at the last step. * the best snapshot by the target's labels, a"
    " bound that no choice may be made by; in brackets the same of ours. Published figures without"
    f" * are of the last step, or nobody says. {MISSING} not published, or not measured"
)


def with_means(measured, columns):
    """`measured` with the means of rows that were measured in every other column."""
    others = [column for column in columns if column != MEAN]
    found = dict(measured)
    for name in {name for name, _ in measured} if MEAN in columns else ():
        values = [measured.get((name, column)) for column in others]
        if others and all(values) and (name, MEAN) not in measured:
            found[name, MEAN] = [
                None if None in seed else statistics.mean(seed)
                for seed in zip(*values, strict=True)
            ]
    return found


def markdown(columns, rows, measured, best):
    """The table, its cells filled up to one width a column, for a terminal too."""
    lines = [["", *columns]]
    for name, is_best, figures in rows:
        cells = [name]
        for i, column in enumerate(columns):
            text = mean_and_spread(measured.get((name, column), ()))
            snapshots = [x for x in best.get((name, column), ()) if x is not None]
            if is_best and snapshots:
                text += f" [{statistics.mean(snapshots):.1f}*]"
            if i < len(figures):
                published = MISSING if figures[i] is None else f"{figures[i]:.1f}"
                is_marked = is_best and figures[i] is not None
                text = f"{published}{'*' * is_marked} / {text}"
            cells.append(text)
        lines.append(cells)
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) + 1)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )


def comma_separated(columns, rows, measured, best, seeds):
    """The same, a line for each cell, unrounded; nothing where a number is missing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["row", "column", "published", "published is best snapshot"]
    writer.writerow([*head, *(f"seed {seed}" for seed in seeds), "mean", "std", "mean best"])
    for name, is_best, figures in rows:
        for i, column in enumerate(columns):
            values = measured.get((name, column), [None] * len(seeds))
            found, snapshots = (
                [x for x in numbers if x is not None]
                for numbers in (values, best.get((name, column), ()))
            )
            figure = figures[i] if i < len(figures) else None
            summary = [statistics.mean(found) if found else None]
            summary.append(statistics.stdev(found) if len(found) > 1 else None)
            summary.append(statistics.mean(snapshots) if snapshots else None)
            marked = "" if figure is None else int(is_best)
            writer.writerow([name, column, figure, marked, *values, *summary])
    return text.getvalue()
