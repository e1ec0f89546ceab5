"""The teacher of cross_domain_mixing: the labels that it gives to target images, its own running
statistics, and how it follows the student.
"""

import jax.numpy as jnp

from dajax.methods import _step
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.ops import teacher_labels as labelling
from dajax.ops.moving_average import moving_average, warmed_up
from dajax.parallel import masked_mean, total
from dajax.state import TEACHER


def label_target(state, target, *, config, model, axis_name):
    """(pseudo-labels int32 [N, H, W], their weights float32 [N, H, W], the teacher's batch_stats
    after its pass, {"pseudo_weight": float32 scalar}).

    Without a teacher (momentum 0) the student labels, in the same mode. Where nothing is trained
    on pseudo-labels and no teacher is kept, nothing is computed: (None, None, None, {}).
    """
    if not (config.teacher.momentum or config.mix.weight or config.masked.weight):
        return None, None, None, {}
    teacher = {"params": state.params, "batch_stats": state.batch_stats}
    if config.teacher.momentum:
        teacher = state.extra[TEACHER]
    shared = dict(config=config, model=model, axis_name=axis_name)
    params, stats = teacher["params"], teacher["batch_stats"]
    logits, stats = see_clean(params, stats, target, **shared)
    if config.mirrored_labels:
        mirrored = target | {"image": target["image"][:, :, ::-1]}
        others, stats = see_clean(params, stats, mirrored, **shared)
        logits = labelling.logits_of_mean(logits, others[:, :, ::-1])
    labels, confidence = labelling.labels_and_confidence(logits)
    share = labelling.confident_share(
        confidence,
        _step.pixel_mask(target["mask"], labels.shape),
        threshold=config.threshold,
        axis_name=axis_name if config.weight_of == "batch" else None,
    )
    weights = labelling.pixel_weights(
        share,
        labels.shape,
        top=config.ignore_top,
        bottom=config.ignore_bottom,
        trusted=target.get("trusted"),
    )
    everywhere = jnp.ones_like(target["mask"])
    mean_share = masked_mean(jnp.broadcast_to(share, everywhere.shape), everywhere, axis_name)
    return labels, weights, stats, {"pseudo_weight": total(mean_share, axis_name)}


def see_clean(params, stats, target, *, config, model, axis_name):
    """(logits float32 [N, H, W, K] of clean images, batch_stats): batch statistics normalise, and
    nothing is dropped.
    """
    seen, stats = segmenter.see(
        params,
        stats,
        target,
        target["image"].shape[1:3],
        config=config,
        model=model,
        axis_name=axis_name,
        deterministic=True,
    )
    return seen.logits, stats


def moved(before, after, stats, config):
    """`extra` with the teacher after the step, where the stage keeps one."""
    if not config.teacher.momentum:
        return before.extra
    updates = after.step if config.teacher.begins_with == "initial" else before.step
    momentum = warmed_up(config.teacher.momentum, updates)
    params = moving_average(before.extra[TEACHER]["params"], after.params, momentum)
    return {**before.extra, TEACHER: {"params": params, "batch_stats": stats}}
