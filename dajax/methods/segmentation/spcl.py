"""SPCL, semantic prototype-based contrastive learning (Xie, Li and Li, 2021), as the
authors' released code runs it.

    CE(source logits / 1.8) + lambda ( mean_s -log softmax_k(u . mu_k / tau)[y]
        + the same of target pixels with their pseudo-labels )

u is a pixel's feature at length 1. The prototypes mu are means of such features over source pixels:
at first over the whole source set (refresh), then moving, nine tenths of the newest batch (decay
0.1 of the OLD value), before each step's loss. They carry no gradient. With tau = 100 the contrast
stays within 0.4 % of ln K whatever happens: watch its gradient norm, not its value.

Paper against code, with the option that chooses:

  source_mask         "correct", the code: source pixels count where the prediction is right.
                      "labels", the paper.
  target_mask         "files", the code: labels made by the stage `labels_from`. "online", the
                      paper: from the current output, strictly above the thresholds of the batch.
  absent_classes      "keep", the paper: a class that a batch lacks keeps its prototype. "shrink",
                      the code, which multiplies it by 0.1 and trains with another prototype on
                      every GPU.
  logit_temperature   1.8 is the code's, 1 the paper's.

Ablations: contrast_weight=0, contrast_source, contrast_target.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dajax import processes
from dajax.losses.prototype_contrast import prototype_contrast
from dajax.losses.segmentation import cross_entropy_map, valid_pixels
from dajax.methods import _step
from dajax.methods.segmentation import _prototype_stage as prototype_stage
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.models.apply import inference
from dajax.ops import prototypes as proto
from dajax.ops.confidence import (
    confidence_histogram,
    quantile_thresholds,
)
from dajax.ops.labels import IGNORED
from dajax.ops.pseudo_labels import (
    confident_labels,
)
from dajax.ops.resize import resize_nearest_legacy
from dajax.ops.similarity import normalize
from dajax.parallel import masked_mean, total
from dajax.settings import choice

TASK = "segmentation"
schedule = prototype_stage.schedule
CHOICES = {
    "source_mask": ("correct", "labels"),
    "target_mask": ("files", "online"),
    "absent_classes": ("keep", "shrink"),
}


def init(rng, images, *, config, model, **_):
    """See interface.py. extra: prototypes float32 [K, D]; known bool [K], which classes have one;
    is_initialised bool, whether refresh has run.

    Raises:
      UserError: an unknown choice, or HRDA.
    """
    for key, known in CHOICES.items():
        choice(config, key, known)
    segmenter.check_whole(config, model)

    extra = prototype_stage.empty_extra(model.num_classes)
    return segmenter.initial_state(rng, images, config=config, model=model, extra=extra)


def plan(_state, *, data, config):
    """Labelled source images, rare classes drawn more often where the config says so, and target
    images, with pseudo-labels for "files".
    """
    size = config.batch_size
    source = (
        data.class_balanced(size)
        if config.class_balanced
        else data.shuffled_with_labels("source", size)
    )
    target = (
        data.with_pseudo_labels(size, config.labels_from)
        if config.target_mask == "files"
        else data.shuffled("target", size)
    )
    return {"source": source, "target": target}


def _source_labels(labels, logits, mask, source_mask):
    """The labels that make prototypes and enter the contrast, at the size of the features: int32
    [N, h, w].
    """
    low = resize_nearest_legacy(_step.without_padding(labels, mask), logits.shape[1:3])
    return proto.keep_correct(low, logits) if source_mask == "correct" else low


@functools.lru_cache(maxsize=8)
def _compiled_add(num_classes, source_mask):
    def add(carry, features, logits, labels, mask):
        low = _source_labels(labels, logits, mask, source_mask)
        return proto.add(
            carry, proto.image_mean_sums(normalize(features), low, low != IGNORED, num_classes)
        )

    return jax.jit(add)


def refresh(state, *, data, config, model):
    """See interface.py: the prototypes of the whole source set, batch by batch
    (semantic_prototype.py; eq. 2).
    """
    norm_set, carry = config.target_bn, None
    run = inference(model, norm_set, data.devices)
    add = _compiled_add(model.num_classes, config.source_mask)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    for batch in data.source_pass(config.init_batch_size):
        output = run(variables, batch["image"])
        if carry is None:
            carry = proto.empty_totals(model.num_classes, output.features.shape[-1])
        # off the devices' axis
        features, logits = (
            np.asarray(x) for x in (output.features, model.prediction_logits(output))
        )
        carry = add(carry, features, logits, batch["label"], batch["mask"])
    prototypes, known = proto.class_means(*processes.total(*(carry or (None, None))[:2]))
    lacking = [name for name, has in zip(data.class_names, known, strict=True) if not has]
    notes = []
    if lacking:
        notes.append(
            f"no source pixel for the prototypes of {', '.join(lacking)}; they begin with the first"
            " batch that has one"
        )
    extra = {"prototypes": prototypes, "known": known, "is_initialised": jnp.ones((), bool)}
    return state.replace(extra=extra), {"classes_with_prototype": float(known.sum())}, notes


def target_labels(part, logits, *, config, axis_name=None):
    """The target's labels at the size of the features, constant: int32 [N, h, w].

    Args:
      part: "mask" bool [N] and, for target_mask="files", "label" int32 [N, H, W].
      logits: float32 [N, h, w, K].
    """
    size_hw = logits.shape[1:3]
    if config.target_mask == "files":
        return resize_nearest_legacy(_step.without_padding(part["label"], part["mask"]), size_hw)
    probabilities = jax.nn.softmax(jax.lax.stop_gradient(logits))
    mask = _step.pixel_mask(part["mask"], probabilities.shape[:3])
    predictions = probabilities.argmax(-1).astype(jnp.int32)
    histogram = total(
        confidence_histogram(
            probabilities.max(-1), predictions, mask, num_classes=logits.shape[-1]
        ),
        axis_name,
    )
    thresholds = quantile_thresholds(histogram, proportion=config.proportion, cap=config.cap)
    return jnp.where(mask, confident_labels(probabilities, thresholds, strict=True), IGNORED)


def move_prototypes(extra, features, labels, *, config, axis_name=None):
    """`extra` with the prototypes moved towards the means of this batch, over all devices."""
    unit = jax.lax.stop_gradient(normalize(features))
    sums = total(
        proto.sums_and_counts(unit, labels, labels != IGNORED, extra["prototypes"].shape[0]),
        axis_name,
    )
    prototypes, known = proto.move(
        extra["prototypes"],
        extra["known"],
        *proto.class_means(*sums),
        decay=config.prototype_decay,
        shrink_absent=config.absent_classes == "shrink",
    )
    return extra | {"prototypes": prototypes, "known": known}


def losses(source_seen, target_seen, batch, extra, *, config, axis_name=None):
    """All terms of a step, with prototypes that have been moved; arguments as
    segmenter.step_on_both_domains gives them.

    Returns:
      (float32 scalar, this device's share of the loss; {name: share of the unweighted term};
        `extra` with the new prototypes).
    """
    source, target = batch["source"], batch["target"]
    logits = source_seen.logits / config.logit_temperature
    valid = valid_pixels(source["label"], source["mask"])
    terms = {
        "segmentation": masked_mean(cross_entropy_map(logits, source["label"]), valid, axis_name)
    }
    source_low = _source_labels(
        source["label"],
        jax.lax.stop_gradient(source_seen.coarse_logits),
        source["mask"],
        config.source_mask,
    )
    shared = dict(config=config, axis_name=axis_name)
    extra = move_prototypes(extra, source_seen.features, source_low, **shared)
    target_low = target_labels(target, target_seen.coarse_logits, **shared)
    contrasts = {
        "contrast_source": (config.contrast_source, source_seen.features, source_low),
        "contrast_target": (config.contrast_target, target_seen.features, target_low),
    }
    settings = dict(
        temperature=config.temperature, present=extra["known"], normalize_prototypes=False
    )
    for name, (is_on, features, labels) in contrasts.items():
        if is_on:
            values, counted = prototype_contrast(features, extra["prototypes"], labels, **settings)
            terms[name] = masked_mean(values, counted, axis_name)
    loss = terms["segmentation"] + config.contrast_weight * sum(
        terms[name] for name in contrasts if name in terms
    )
    shares = {"source": (source_low, source["mask"]), "target": (target_low, target["mask"])}
    for domain, (low, mask) in shares.items():
        terms[f"contrasted_{domain}"] = masked_mean(
            (low != IGNORED).astype(jnp.float32), _step.pixel_mask(mask, low.shape), axis_name
        )
    return loss, terms, extra


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step: prototypes first, then the loss with them.

    Args:
      batch: "source" with image [N, h, w, 3], label int32 [N, H, W], mask [N]; "target" with image,
        mask and, for target_mask="files", label.
    """
    return segmenter.step_on_both_domains(
        state, batch, losses, rng, config=config, model=model, axis_name=axis_name
    )
