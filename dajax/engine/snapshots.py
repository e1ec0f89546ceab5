"""Which snapshot of a stage is taken: the newest, or the one that a rule picks among those that are
kept without a label of the target (dajax.label_free); and what each rule picks of all evaluations.

The oracle, the best evaluation by the target's labels, is for the table alone: nothing is opened,
kept or begun by it.
"""

from dajax import label_free
from dajax.engine import checkpoint, log
from dajax.errors import UserError

ORACLE = "oracle"
_HELD_OUT = "--config.evaluation.source_held_out=0.1"


def check(rule):
    """Raises UserError for a rule that is none."""
    if rule not in label_free.CHOICES:
        raise UserError(f"select='{rule}': no such rule; known: {', '.join(label_free.CHOICES)}")


def choose(directory, rule):
    """The step of the kept snapshot that a rule picks; None, the newest that is whole, for "last".

    Args:
      directory: pathlib.Path of a stage that has a checkpoint.

    Raises:
      UserError: an unknown rule; one that was not measured in this run; fewer than two snapshots
        that it was measured on are kept.
    """
    check(rule)
    if rule == label_free.LAST:
        return None
    rows = log.read_metrics(directory / "metrics.jsonl")
    figures = label_free.measured(rows, rule)
    if not figures:
        remedy = "an earlier dajax has trained it, or its end has not come; take select=last"
        if rule == "dev":
            remedy = f"dev needs source images that no stage trains on: train with {_HELD_OUT}"
        raise UserError(f"{directory}: select='{rule}' was not measured in this stage; {remedy}")
    if not any(figures):
        raise UserError(
            f"{directory}: select='{rule}' has nothing to choose from: the stage takes no steps;"
            " take select=last"
        )
    kept = checkpoint.steps(directory / "checkpoints")
    candidates = {step: figures[step] for step in kept if step in figures}
    if len(candidates) < 2:
        evaluated = ", ".join(map(str, sorted(figures)[:6])) + (", ..." if len(figures) > 6 else "")
        raise UserError(
            f"{directory}: select='{rule}' has nothing to choose from: it was evaluated at step"
            f" {evaluated}, and of these {len(candidates)} snapshot"
            f"{'s are' if len(candidates) != 1 else ' is'} kept; train with"
            " --config.runtime.keep_every=N of which these steps are multiples, and where it has"
            f" no loops with --config.{directory.name}.evaluate_every=N"
        )
    return label_free.pick(candidates, rule)


def choose_each(workdir, stages, rule):
    """{stage: step, None for the newest} as `choose`; a stage that was evaluated once at most, so
    that there is nothing to choose, has its newest.

    Raises:
      UserError: as `choose`; or no stage was evaluated more than once.
    """
    check(rule)
    if rule == label_free.LAST:
        return dict.fromkeys(stages)
    several = [name for name in stages if len(_evaluations(workdir / name)) > 1]
    if not several:
        raise UserError(
            f"{workdir}: select='{rule}' has nothing to choose from: no stage was evaluated more"
            " than once; train with --config.STAGE.evaluate_every=N and"
            " --config.runtime.keep_every=N"
        )
    return {name: choose(workdir / name, rule) if name in several else None for name in stages}


def _evaluations(directory):
    """{step: row} of the evaluations of a stage, by step."""
    rows = log.read_metrics(directory / "metrics.jsonl")
    found = {row["step"]: row for row in rows if row["kind"] == "evaluation"}
    return dict(sorted(found.items()))


def picks(workdir, stages, figure):
    """What each rule picks among all evaluations of a stage, kept or not.

    Args:
      figure: key of the figure that is told, "accuracy"; None where it was not measured.

    Returns:
      {stage: {"evaluations": count, "last": {"step", figure}, and the same for each rule that was
      measured at every evaluation and, with labels, for "oracle"}} of the stages that were
      evaluated more than once.
    """
    found = {}
    for name in stages:
        rows = _evaluations(workdir / name)
        if len(rows) < 2:
            continue
        chosen = {label_free.LAST: max(rows)}
        for rule in label_free.RULES:
            figures = label_free.measured(rows.values(), rule)
            if len(figures) == len(rows):
                chosen[rule] = label_free.pick(figures, rule)
        labelled = {step: row[figure] for step, row in rows.items() if row.get(figure) is not None}
        if labelled:
            chosen[ORACLE] = max(labelled, key=lambda step: (labelled[step], step))
        found[name] = {"evaluations": len(rows)} | {
            who: {"step": step, figure: labelled.get(step)} for who, step in chosen.items()
        }
    return found


def table(found, figure, title):
    """The lines of what `picks` has found; "" for nothing.

    Args:
      figure: as of `picks`; title: how it is called, "accuracy".
    """
    if not found:
        return ""
    columns, head, cells = cells_of(found, figure, title)
    rows = [[str(cell) for cell in row] for row in cells]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in rows
    ]
    rules = [who for who in columns if who in label_free.RULES]
    remarks = [f"chosen without labels: {', '.join(rules)}"] if rules else []
    if ORACLE in columns:
        remarks.append("* the best by the target's labels, a bound that no choice may be made by")
    told = f"{head} of each stage's evaluations, by who chooses among them"
    return "\n".join([told, *lines, "; ".join(remarks)])


def cells_of(found, figure, title):
    """What `picks` has found as a table; arguments as of `table`.

    Returns:
      (who chooses, in order; what a cell is, "accuracy in % (step)"; rows of cells, the heads
      first).
    """
    columns = [
        who
        for who in (*label_free.CHOICES, ORACLE)
        if any(who in stage for stage in found.values())
    ]
    heads = [f"{who}*" if who == ORACLE else who for who in columns]
    rows = [["stage", "evaluations", *heads]]
    for name, stage in found.items():
        cells = [_cell(stage.get(who), figure) for who in columns]
        rows.append([name, stage["evaluations"], *cells])
    return columns, f"{title} in % (step)" if ORACLE in columns else "steps", rows


def _cell(chosen, figure):
    if chosen is None:
        return "-"
    step = f"({chosen['step']})"
    return step if chosen[figure] is None else f"{chosen[figure]:.1f} {step}"
