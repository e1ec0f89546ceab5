"""What a classification run measures, logs and prints. See dajax.tasks for what the functions are
asked.
"""

import jax

from dajax.analysis.report import classification_table
from dajax.models.statistics import reestimate_statistics
from dajax.tasks.classification.cluster_warnings import cluster_warnings
from dajax.tasks.classification.evaluate import (
    evaluate_classifier,
    pseudo_label_accuracy,
    recall_per_class,
)
from dajax.tasks.classification.selection import Outputs, label_free_figures
from dajax.tasks.common import Evaluation, check_figures, label_free_headline


def evaluate(state, *, data, model, config, stage_config):
    """See dajax.tasks. Report: accuracy, mean_class_accuracy, per_class, confusion; the same but
    for the confusion under "reestimated", with AdaBN's statistics in the target's set; and what
    dajax.label_free has keys for, which is all of it where the target has no labels.
    """
    settings = config.evaluation
    outputs = Outputs(with_features=data.has_source_held_out)
    shared = dict(
        data=data,
        model=model,
        stage_config=stage_config,
        batch_size=config.runtime.eval_batch_size,
    )
    report = evaluate_classifier(state, **shared, outputs=outputs)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    label_free = label_free_figures(outputs, variables, **shared)
    if report is None:
        return Evaluation(label_free, label_free_headline(label_free))
    headline = (
        f"target accuracy {report['accuracy']:.2f} %, mean-class"
        f" {report['mean_class_accuracy']:.2f} %"
    )
    if settings.reestimate_batches and jax.tree.leaves(state.batch_stats):
        again = reestimate_statistics(
            variables,
            data=data,
            model=model,
            norm_set=stage_config.target_bn,
            batch_size=settings.reestimate_batch_size,
            num_batches=settings.reestimate_batches,
        )
        figures = evaluate_classifier(state.replace(**again), **shared)
        report["reestimated"] = {key: x for key, x in figures.items() if key != "confusion"}
        headline += (
            f"; accuracy {figures['accuracy']:.2f} % with BN statistics re-estimated on unlabelled"
            " target images"
        )
    return Evaluation(report | label_free, headline)


def judge_refresh(state, *, data):
    """See dajax.tasks: the accuracy of the pseudo-labels, where the method keeps any, and the
    recall of each class in its clusters, before the filter.
    """
    found = {}
    if "pseudo_labels" in state.extra:
        accuracy = pseudo_label_accuracy(state.extra["pseudo_labels"], data)
        found = {} if accuracy is None else {"pseudo_label_accuracy_evaluation_only": accuracy}
    if "cluster_labels" in state.extra and data.evaluation_labels is not None:
        recalls = recall_per_class(state.extra["cluster_labels"], data)
        found["recall_per_class_evaluation_only"] = recalls
    return found


def warn_of_refresh(figures, earlier, *, data):
    """See dajax.tasks: where clusters and classes part ways."""
    return cluster_warnings(figures, earlier, data.sets["source"].class_names)


def check_result(result, class_names):
    """See dajax.tasks."""
    check_figures(result, ("accuracy", "mean_class_accuracy"), "per_class", class_names)


def table(results, domains, chosen="last step"):
    """See dajax.tasks."""
    del domains
    return f"target accuracy in %, {chosen}\n" + classification_table(results)
