"""Evaluation on the target, the only place where its labels are read."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dajax import processes
from dajax.models.apply import inference
from dajax.ops.metrics import classification_report, confusion_matrix


@functools.partial(jax.jit, static_argnames="num_classes")
def _count(confusion, labels, logits, mask, num_classes):
    predictions = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    return confusion + confusion_matrix(labels, predictions, mask, num_classes)


def evaluate_classifier(state, *, data, model, stage_config, batch_size, outputs=None):
    """Counts every target image once: padded batches, masked.

    Args:
      state: TrainState with params and batch_stats.
      data: Feed.
      model: Classifier.
      stage_config: of the stage, for `target_bn`, the set of normalisation statistics that the
        target uses.
      batch_size: rounded up to a multiple of the number of devices.
      outputs: selection.Outputs, which gets the network's outputs, or None.

    Returns:
      {"accuracy", "mean_class_accuracy", "per_class": {name: ...}} in per cent, and "confusion", a
      list of lists whose rows are the true classes. None when the target has no labels.
    """
    predict = inference(model, stage_config.target_bn, data.devices)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    if not data.has_evaluation_labels:
        for batch in data.evaluation_images(batch_size) if outputs is not None else ():
            outputs.add(predict(variables, batch["image"]), batch["mask"], batch["index"])
        return None
    confusion = jnp.zeros((model.num_classes, model.num_classes), jnp.int32)
    for batch in data.evaluation(batch_size):
        output = predict(variables, batch["image"])
        if outputs is not None:
            outputs.add(output, batch["mask"], batch["index"])
        logits = np.asarray(output.logits)
        confusion = _count(confusion, batch["label"], logits, batch["mask"], model.num_classes)
    confusion = jnp.asarray(processes.total(confusion)[0])
    report = classification_report(confusion, data.sets["source"].class_names)
    return report | {"confusion": np.asarray(confusion).tolist()}


def pseudo_label_accuracy(pseudo_labels, data):
    """Per cent of kept pseudo-labels that are right; for the log only, None without target labels
    or when nothing is kept.
    """
    pseudo_labels = np.asarray(pseudo_labels)
    kept = pseudo_labels >= 0
    if data.evaluation_labels is None or not kept.any():
        return None
    return float(100.0 * np.mean(pseudo_labels[kept] == data.evaluation_labels[kept]))


def recall_per_class(labels, data):
    """Per cent of each class's target images that have the label of their class: a list of K, None
    for a class without an image. For the log only.

    Args:
      labels: int32 [N_t].
      data: Feed whose target has labels.
    """
    truth, size = data.evaluation_labels, len(data.sets["source"].class_names)
    right = np.bincount(truth[np.asarray(labels) == truth], minlength=size)
    counts = np.bincount(truth, minlength=size)
    return [100.0 * float(a / n) if n else None for a, n in zip(right, counts, strict=True)]
