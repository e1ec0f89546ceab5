"""What a segmentation run measures, logs and prints. See dajax.tasks for what the functions are
asked.
"""

import dataclasses
import functools

import jax

from dajax.analysis.report import segmentation_table
from dajax.models.statistics import reestimate_statistics
from dajax.tasks.common import (
    Evaluation,
    check_figures,
    label_free_headline,
)
from dajax.tasks.segmentation import label_free
from dajax.tasks.segmentation.evaluate import (
    Protocol,
    evaluate_segmenter,
    pseudo_label_quality,
)
from dajax.tasks.segmentation.selection import Pixels, label_free_figures, run_without_labels
from data_pipeline.segmentation import labels


def _subsets(space):
    """The published class subsets, without the full set (that is plain mIoU)."""
    return {
        name: classes
        for name, classes in labels.subsets_of(space).items()
        if len(classes) < space.num_classes
    }


def evaluate(state, *, data, model, config, stage_config):
    """See dajax.tasks. Report: miou, iou, miou_<subset>, pixel_accuracy, confusion; the same but
    for the confusion under "reestimated", with AdaBN's statistics, and under "aggregated" and
    "reestimated_aggregated", with spatial aggregation, where the config has it; and what
    dajax.label_free has keys for, as trained, which is all of it where there are no labels.
    """
    settings, pixels = config.evaluation, Pixels()
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    without_labels = functools.partial(
        label_free_figures,
        pixels,
        variables,
        data=data,
        model=model,
        target_bn=stage_config.target_bn,
        batch_size=config.runtime.eval_batch_size,
    )
    if not data.has_evaluation_labels:
        pictures = run_without_labels(
            variables,
            pixels,
            data=data,
            model=model,
            norm_set=stage_config.target_bn,
            batch_size=config.runtime.eval_batch_size,
            align_corners=settings.align_corners,
            window=data.window,
            num_pictures=settings.num_pictures,
        )
        return Evaluation(figures := without_labels(), label_free_headline(figures), pictures)
    plain = Protocol(stage_config.target_bn, settings.align_corners, window=data.window)
    shared = dict(
        data=data,
        model=model,
        batch_size=config.runtime.eval_batch_size,
        subsets=_subsets(data.space),
    )
    report, pictures = evaluate_segmenter(
        variables, protocol=plain, num_pictures=settings.num_pictures, pixels=pixels, **shared
    )
    headline = [
        f"target mIoU {report['miou']:.2f} %, pixel accuracy {report['pixel_accuracy']:.2f} %"
    ]

    def measure(key, variables, protocol, remark):
        figures, _ = evaluate_segmenter(variables, protocol=protocol, **shared)
        report[key] = {name: value for name, value in figures.items() if name != "confusion"}
        headline.append(f"{figures['miou']:.2f} % {remark}")

    aggregated = (
        dataclasses.replace(plain, aggregation_alpha=settings.aggregation_alpha)
        if settings.aggregation_alpha
        else None
    )
    if aggregated:
        measure("aggregated", variables, aggregated, "with spatial aggregation")
    # VGG and vision transformers have no statistics
    if (
        settings.reestimate_batches
        and jax.tree.leaves(state.batch_stats)
        and config.model.norm == "train"
    ):
        again = reestimate_statistics(
            variables,
            data=data,
            model=model,
            norm_set=stage_config.target_bn,
            batch_size=settings.reestimate_batch_size,
            num_batches=settings.reestimate_batches,
        )
        measure(
            "reestimated",
            again,
            plain,
            "with BN statistics re-estimated on unlabelled target images",
        )
        if aggregated:
            measure("reestimated_aggregated", again, aggregated, "with both")
    return Evaluation(report | without_labels(), "; ".join(headline), pictures)


def judge_refresh(state, *, data):
    """See dajax.tasks: density and accuracy of new pseudo-labels (the slides of BiCL, table 4), and
    the accuracy of each class; and what needs no label, see label_free.pseudo_label_figures.
    """
    del state
    quality = pseudo_label_quality(data)
    judged = {f"{name}_evaluation_only": value for name, value in quality.items()}
    return label_free.pseudo_label_figures(data) | judged


def warn_of_refresh(figures, earlier, *, data):
    """See dajax.tasks: where pseudo-labels may have got worse."""
    return label_free.pseudo_label_warnings(figures, earlier, data.class_names)


def view_agreement(state, *, data, model, config, stage_config):
    """See dajax.tasks: label_free.mirrored_agreement."""
    return label_free.mirrored_agreement(
        {"params": state.params, "batch_stats": state.batch_stats},
        data=data,
        model=model,
        norm_set=stage_config.target_bn,
        batch_size=config.evaluation.reestimate_batch_size,
        num_batches=config.evaluation.agreement_batches,
    )


def check_result(result, class_names):
    """See dajax.tasks."""
    check_figures(result, ("miou", "pixel_accuracy"), "iou", class_names)


def table(results, domains, chosen="last step"):
    """See dajax.tasks."""
    title = (
        f"target IoU in %, {chosen}, {len(domains.evaluation)} images; BN statistics as trained"
        " unless the row says 'target BN'"
    )
    return title + "\n" + segmentation_table(results, list(_subsets(domains.evaluation.space)))
