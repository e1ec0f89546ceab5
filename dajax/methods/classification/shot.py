"""SHOT (Liang et al., ICML 2020): adaptation without the source. The classifier that a source-only
stage has trained stays as it is, and the features move to it.

    min  weight * CE(z, y) + information_weight * ( mean_i H(p_i) - H(mean_i p_i) )    on the target

y are pseudo-labels of the nearest centroid (dajax/ops/centroid_labels.py), made anew `refreshes`
times, at equal distances; for the first `label_free_rounds` of them the first term is left out. No
source image is read: neither `plan` nor `refresh` asks for one. Label smoothing, the bottleneck and
the weight-normalised head, which the paper counts as parts of the method, are settings of the
source stage and of config.model.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dajax import processes
from dajax.losses.classification import cross_entropy
from dajax.losses.information import information_maximisation
from dajax.methods import _step
from dajax.models.apply import forward_train, inference, init_network
from dajax.ops.centroid_labels import DISTANCES, centroid_labels
from dajax.parallel import gather, masked_mean, share
from dajax.schedule import Schedule
from dajax.settings import SettingError, choice

TASK = "classification"
LABELS, REFRESH_AT = "pseudo_labels", "refresh_at"
CLASSIFIER = ("/head/",)  # frozen


def init(rng, images, *, config, model, sizes):
    """See interface.py. extra: pseudo_labels int32 [N_t]; refresh_at int32.

    Raises:
      UserError: unknown config.distance, or no round with labels.
    """
    choice(config, "distance", DISTANCES)
    if config.weight and config.label_free_rounds >= config.refreshes:
        raise SettingError(
            "label_free_rounds",
            config.label_free_rounds,
            f"leaves no round of refreshes={config.refreshes} that learns from the labels; set it"
            " below, or weight to 0",
        )
    params, batch_stats = init_network(rng, images, model=model)
    extra = {
        LABELS: jnp.full((sizes.target,), -1, jnp.int32),
        REFRESH_AT: jnp.zeros((), jnp.int32),
    }
    return _step.initial_state(
        params, batch_stats, config=config, model=model, extra=extra, frozen=CLASSIFIER
    )


def plan(_state, *, data, config):
    """One shuffled batch of target images with their numbers."""
    return {"target": data.with_index(data.shuffled("target", config.batch_size))}


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step of all but the classifier.

    Args:
      batch: "target" with image [N, H, W, C], mask bool [N], index int32 [N].
    """
    target = batch["target"]
    labels = state.extra[LABELS][jnp.maximum(target["index"], 0)]
    is_label_free = state.step < config.label_free_rounds * _interval(config)
    weight = jnp.where(is_label_free, 0.0, config.weight)

    def loss_fn(params):
        output, stats = forward_train(
            model,
            params,
            state.batch_stats,
            target,
            norm_set=config.target_bn,
            axis_name=axis_name,
            rng=rng,
        )
        ce = masked_mean(cross_entropy(output.logits, labels), target["mask"], axis_name)
        whole = (gather(x, axis_name) for x in (output.logits, target["mask"]))
        information = share(information_maximisation(*whole), axis_name)
        loss = weight * ce + config.information_weight * information
        return loss, ({"loss": loss, "ce": ce, "information": information}, stats)

    (_, (terms, stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    shared = dict(config=config, model=model, axis_name=axis_name)
    return _step.finish(state, grads, stats, terms, **shared, frozen=CLASSIFIER)


def _interval(config):
    """Steps between two refreshes; a remainder makes one more at the end, as in the code."""
    return max(config.steps // config.refreshes, 1)


def schedule(state, *, config):
    """See interface.py."""
    refresh_at = min(int(state.extra[REFRESH_AT]), config.steps)
    return Schedule(
        refresh_at=refresh_at if refresh_at < config.steps else None,
        last_step=config.steps,
        finished=int(state.step) >= config.steps,
    )


def refresh(state, *, data, config, model):
    """Labels of all target images, in evaluation mode and view."""
    features, logits = _target_outputs(state, data=data, config=config, model=model)
    labels = centroid_labels(
        features, logits, distance=config.distance, min_images=config.min_images
    )
    predictions = np.asarray(logits).argmax(-1)
    summary = {
        "labels_changed": float(np.mean(np.asarray(labels) != np.asarray(state.extra[LABELS]))),
        "labels_of_the_head": float(np.mean(np.asarray(labels) == predictions)),
    }
    extra = {LABELS: labels, REFRESH_AT: state.extra[REFRESH_AT] + _interval(config)}
    return state.replace(extra={**state.extra, **extra}), summary, []


def _target_outputs(state, *, data, config, model):
    """(features float32 [N_t, D], logits float32 [N_t, K]) of every target image in order."""
    embed = inference(model, config.target_bn, data.devices)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    size, found = len(data.sets["target"]), None
    name = f"labels{int(state.step)}"
    for batch in data.sequence("target", config.label_batch_size, views="eval", name=name):
        output, places = embed(variables, batch["image"]), batch["index"][batch["mask"]]
        if found is None:
            found = [np.zeros((size, x.shape[1]), np.float32) for x in output]
        for whole, rows in zip(found, output, strict=True):
            whole[places] = np.asarray(rows)[batch["mask"]]
    return tuple(jnp.asarray(x) for x in processes.total(*(found or (None, None))))
