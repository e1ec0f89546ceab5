"""How training went and where it ended: tables, confusion matrices, curves, refreshes, rounds."""

from dajax.analysis import curves, plots
from dajax.analysis import report as tables
from dajax.analysis.html import Picture, Row, Section, Table, Text
from dajax.engine import run_output, snapshots
from dajax.report.runs import LeftOut

_FIRST, _LAST = ("loss",), ("grad_norm", "learning_rate")  # names of figures, in a picture of all


def measured(context):
    """The stages with figures, {label: result}.

    Raises:
      LeftOut: nothing was measured.
    """
    found = {stage.label: stage.result for stage in context.stages if stage.is_measured}
    if not found:
        is_finished = any(stage.result is not None for stage in context.stages)
        why = "the target has no labels" if is_finished else "no stage is finished"
        raise LeftOut(f"nothing was measured: {why}")
    return found


def results(context):
    """Section: the figures of the final table, the stages side by side."""
    found = measured(context)
    if context.task == "classification":
        per_class, summary = tables.classification_figures(found)
        what = "Accuracy on the target in %, at the last step of each stage."
    else:
        subsets = {
            key.removeprefix("miou_")
            for result in found.values()
            for key in result
            if key.startswith("miou_")
        }
        per_class, summary = tables.segmentation_figures(found, sorted(subsets))
        what = "Intersection over union on the target in %, at the last step of each stage."
    steps = [["after step", *(result["step"] for result in found.values())]]
    blocks = [
        Text(
            what + " The labels of the target serve this table alone. Rows that do not say"
            " otherwise use the normalisation statistics as trained."
        ),
        Row(
            [
                Table(["all classes", *found], summary + steps, shade=True),
                Table(["class", *found], per_class, shade=True),
            ]
        ),
    ]
    return Section("results", "Results", blocks)


def choices(context):
    """Section: of each stage the last step, what each rule without labels picks of its evaluations,
    and the oracle; None where no stage was evaluated twice.
    """
    tables_of = []
    for run in context.runs:
        key, title = run_output.headline_figure(run.config)
        found = snapshots.picks(run.workdir, [stage.name for stage in run.stages], key)
        if not found:
            continue
        _, told, (head, *rows) = snapshots.cells_of(found, key, title)
        tables_of.append(Table(head, rows, title=f"{run.label}: {told}" if run.label else told))
    if not tables_of:
        return None
    text = Text(
        "Of the evaluations of a stage: the last, and those that rules without labels pick. The"
        " lowest is picked by entropy and by dev, weighted validation on the source; the highest by"
        " im, information maximisation, and snd, neighbourhood density. * The oracle is the best by"
        " the target's labels, a bound that no choice may be made by."
    )
    return Section("choices", "Snapshots chosen without labels", [text, *tables_of])


def confusion(context):
    """Section: confusion matrices."""
    matrices = {
        label: result["confusion"]
        for label, result in measured(context).items()
        if "confusion" in result
    }
    if not matrices:
        raise LeftOut("no result of these runs holds a confusion matrix")
    drawn = plots.confusions(matrices, context.class_names)
    unit = "images" if context.task == "classification" else "pixels"
    caption = f"Rows are true classes of the target, in per cent of the {unit} of the class."
    return Section("confusion", "Confusion matrices", [Picture("confusion", drawn, caption)])


def losses(context):
    """Section: what was logged while training."""
    panels, constant = _panels(context.stages, "train")
    if not panels:
        raise LeftOut(
            "no stage has logged two training steps (--config.runtime.log_every=N logs every N-th)"
        )
    drawn = plots.lines(panels, context.colors)
    caption = (
        "Figures of the training steps; strong lines are running means where there are many steps."
        f" Steps of each stage begin at 0.{constant}"
    )
    return Section("losses", "Training curves", [Picture("losses", drawn, caption)])


def evaluations(context):
    """Section: figures of the evaluations during training."""
    panels, constant = _panels(context.stages, "evaluation")
    if not panels:
        raise LeftOut(
            "no stage was evaluated more than once; --config.STAGE.evaluate_every=N does that"
        )
    drawn = plots.lines(panels, context.colors)
    caption = (
        "Evaluations while training, on the target. Those that need its labels were used for"
        f" nothing but this picture.{constant}"
    )
    return Section(
        "evaluations", "Evaluations over training", [Picture("evaluations", drawn, caption)]
    )


def _panels(stages, kind):
    """The figures of one kind of lines, the loss first and what belongs to the optimiser last.

    Returns:
      ({name of a figure: {label of a stage: (steps, values)}} of those that some stage has at two
      steps or more, and that change; a sentence on those that never change, or "").
    """
    names = dict.fromkeys(name for stage in stages for name in curves.names(stage.metrics, kind))
    order = [name for name in _FIRST if name in names]
    order += [name for name in names if name not in (*_FIRST, *_LAST)]
    order += [name for name in _LAST if name in names]
    panels, constant = {}, []
    for name in order:
        found = {stage.label: curves.series(stage.metrics, kind, name) for stage in stages}
        kept = {label: pair for label, pair in found.items() if len(pair[0]) > 1}
        values = {value for _, row in kept.values() for value in row}
        title = name.removesuffix(curves.MARK)
        if len(values) == 1:
            constant.append(f"{title.replace('_', ' ')} {values.pop():g}")
        elif kept:
            panels[title] = kept
    return panels, f" The same at every step: {', '.join(constant)}." if constant else ""


def refreshes(context):
    """Section: clusterings and other refreshes, loop after loop; None without two of one stage."""
    blocks, (panels, constant) = [], _panels(context.stages, "refresh")
    if not panels:
        return None
    drawn = plots.lines(panels, context.colors)
    judged = any(
        key.endswith(curves.MARK)
        for stage in context.stages
        for row in stage.metrics
        for key in row
    )
    remark = " Accuracy and recall were measured with the target's labels, for the log alone."
    caption = f"Figures of each refresh, at the step before which it was made.{constant}"
    blocks.append(Picture("refreshes", drawn, caption + (remark if judged else "")))
    size = len(context.class_names)
    for stage in context.stages:
        found = curves.tables(stage.metrics, "refresh")
        maps = {
            name.removesuffix(curves.MARK): pair
            for name, pair in found.items()
            if len(pair[1][0]) == size and len(pair[0]) > 1
        }
        if maps:
            caption = f"{stage.label}: the same for each class."
            name = f"refreshes_{stage.label}"
            blocks.append(Picture(name, plots.heat_maps(maps, context.class_names), caption))
    return Section("refreshes", "Clusters and labels, loop after loop", blocks)


def verdicts(context):
    """Section: whether rounds of self-training made the network better; None without rounds."""
    rows = []
    for run in context.runs:
        for name, verdict in run.verdicts.items():
            label = f"{run.label}: {name}" if run.label else name
            for key, before in verdict["before"].items():
                rows.append([label, key, before, verdict["after"].get(key), verdict["kept"]])
    if not rows:
        return None
    text = Text(
        "Agreement of predictions for unlabelled target images with those for their mirrored"
        " copies, of the network that a round began with and of the one that it ended with (%)."
    )
    head = ["round", "figure", "before", "after", "kept"]
    return Section("rounds", "Rounds of self-training", [text, Table(head, rows)])


def pseudo_labels(context):
    """Section: how many pixels have a pseudo-label, and how many of those are right; None where no
    stage has made such labels.
    """
    rows, columns = [], {}
    for stage in context.stages:
        lines = [row for row in stage.metrics if row["kind"] == "refresh" and "labelled" in row]
        if not lines:
            continue
        last = lines[-1]
        rows.append(
            [
                stage.label,
                100 * last["labelled"],
                100 * last["churn"] if "churn" in last else None,
                last.get("density" + curves.MARK),
                last.get("accuracy" + curves.MARK),
            ]
        )
        columns |= _per_class(stage.label, last, context.class_names)
    if not rows:
        return None
    head = ["stage", "labelled %", "changed since the round before %", "density %", "accuracy %"]
    text = Text(
        "Labelled: of all pixels. Density: of the pixels that have a true class. Accuracy: of the"
        " pseudo-labels. The last two need the target's labels and serve this table alone."
    )
    classes = [
        [name, *(column[k] for column in columns.values())]
        for k, name in enumerate(context.class_names)
    ]
    per_class = Table(["class", *columns], classes, title="Each class", digits=2)
    blocks = [text, Table(head, rows, digits=2), per_class]
    return Section("pseudo-labels", "Pseudo-labels", blocks)


def _per_class(label, row, class_names):
    """{title: [K numbers or None]} of one line of a stage's pseudo-labels."""
    shares = row.get("labelled_per_class")
    columns = {f"{label}: share %": [100 * x for x in shares]} if shares else {}
    for prefix, title, ending in (
        ("threshold_", "threshold", ""),
        ("accuracy_", "accuracy %", curves.MARK),
    ):
        column = [row.get(f"{prefix}{name}{ending}") for name in class_names]
        if any(value is not None for value in column):
            columns[f"{label}: {title}"] = column
    return columns
