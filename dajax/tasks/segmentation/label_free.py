"""What can be said of self-training without a label of the target: of pseudo-labels, and of a
network's predictions.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dajax import parallel
from dajax.models.apply import predict_scores
from dajax.ops.labels import IGNORED
from dajax.ops.metrics import confusion_matrix, iou_report

# Pixels of a class, of all labelled ones; below it a class that had more is as good as lost. Ours.
LOST_SHARE = 1e-5
# Of the pixels that both rounds label. Ours: on the drawn scenes BiCL's second round, shortened,
# changed the class of 0.0001 of its confident pixels.
MUCH_CHURN = 0.05


def pseudo_label_figures(data):
    """Figures of a stage's pseudo-labels, from its files and those of the round before.

    Args:
      data: SegFeed.

    Returns:
      {"labelled": share of the pixels that have a pseudo-label, "labelled_per_class": the share of
      each class among those, a list of K; where a round came before, "churn": the share of the
      pixels labelled in both that have another class now}. {} for a stage without pseudo-labels.
    """
    counts, pixels, both, changed = np.zeros(len(data.class_names), np.int64), 0, 0, 0
    for now, before in data.pseudo_labels_of_two_rounds():
        given = now != IGNORED
        counts += np.bincount(now[given], minlength=len(counts))
        pixels += now.size
        if before is not None:
            given &= before != IGNORED
            both += int(given.sum())
            changed += int((now != before)[given].sum())
    if not pixels:
        return {}
    total = int(counts.sum())
    figures = {
        "labelled": total / pixels,
        "labelled_per_class": (counts / max(total, 1)).tolist(),
    }
    return figures | ({"churn": changed / both} if both else {})


def pseudo_label_warnings(figures, earlier, class_names):
    """The warnings of one round's pseudo-labels, a line of all of them or none.

    Args:
      figures: of this round, as pseudo_label_figures has them; others have nothing to warn of.
      earlier: list of figures of the rounds before; those of a version before do not count.
      class_names: K names.
    """
    if "labelled" not in figures:
        return []
    told = []
    if not figures["labelled"]:
        told.append("no pixel has a label")
    rounds = [row["labelled_per_class"] for row in earlier if "labelled_per_class" in row]
    lost = [
        name
        for k, name in enumerate(class_names)
        if figures["labelled_per_class"][k] < LOST_SHARE
        and any(shares[k] >= LOST_SHARE for shares in rounds)
    ]
    if lost:
        told.append(f"classes that had labels in a round before and have none: {', '.join(lost)}")
    if figures.get("churn", 0.0) > MUCH_CHURN:
        told.append(
            f"{figures['churn']:.0%} of the pixels labelled in both rounds have another class"
        )
    return [f"pseudo-labels may have got worse: {'; '.join(told)}"] if told else []


@functools.lru_cache(maxsize=16)
def _compiled(model, norm_set):
    def count(variables, batch):
        def predict(images):
            scores = predict_scores(model, variables, images, norm_set=norm_set)
            return scores.argmax(-1).astype(jnp.int32)  # [N, h, w]

        plain, mirrored = predict(batch["image"]), predict(batch["image"][:, :, ::-1])
        mask = jnp.broadcast_to(batch["mask"][:, None, None], plain.shape)
        return confusion_matrix(plain, mirrored[:, :, ::-1], mask, model.num_classes)

    return jax.jit(count)


def mirrored_agreement(variables, *, data, model, norm_set, batch_size, num_batches):
    """How much a network's predictions for target images agree with those for their mirrored
    copies, at the stride of the network.

    The share of equal pixels alone would call a network that predicts one class everywhere perfect,
    and one that has lost a rare class no worse. So rounds are judged by the mean over all classes
    of the IoU between the two predictions, in which a class that neither predicts counts 0.

    Args:
      variables: {"params", "batch_stats"} by network.
      data: SegFeed; norm_set: the target's set of normalisation statistics.
      batch_size, num_batches: of unlabelled target training images, in random training views, the
        same at every call for one stage.

    Returns:
      {"mean_class_agreement", "pixel_agreement"} in per cent, {"classes_predicted"}: a count.
    """
    count, total = _compiled(model, norm_set), np.zeros((model.num_classes,) * 2, np.int64)
    part = data.shuffled("target", parallel.round_up(batch_size, data.devices))
    for batch in data.whole_steps({"target": part}, 0, num_batches):
        rows = {key: batch["target"][key] for key in ("image", "mask")}
        total += np.asarray(count(variables, rows), np.int64)
    ious = iou_report(total, data.class_names, {})["iou"].values()
    return {
        "mean_class_agreement": float(sum(iou or 0.0 for iou in ious) / model.num_classes),
        "pixel_agreement": float(100 * np.trace(total) / max(total.sum(), 1)),
        "classes_predicted": int((total.sum(0) + total.sum(1) > 0).sum()),
    }
