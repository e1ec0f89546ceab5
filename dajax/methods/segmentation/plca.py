"""PLCA, pixel-level cycle association (Kang, Wei, Yang, Zhuang, Hauptmann, NeurIPS 2020), as the
authors' released code runs it.

    CE(source) + lovasz_weight * Lovasz(source)
        + 0.1 (association of features + association of predictions)
        + 0.01 (LSR(source) + LSR(target))

A cycle leads from a source pixel to the most similar target pixel, and on to the source pixel most
similar to that. Where it ends in the class that it began in, both steps are strengthened against
all other pixels (losses/association.py). Before, every target pixel is blended with those like it
(ops/aggregation.py), which takes the gradient to pixels that no cycle meets. Source image n is
paired with target image n. The target passes first and then the source, each with its own batch
statistics, and both move the running ones.

Paper against code: the Lovász term weighs 0.75 in the paper. In the gradient of the released code
it weighs 0.75 x GPUs x accumulated micro-batches, 3 for its published command (lovasz_weight).

Ablations of the paper's Table 1: `lovasz_weight`, `association.feature_level`,
`association.prediction_level`, `label_smoothing.weight`, `association.aggregation_alpha=0`, and
`association.kind="similarity"`, our reading of its Sim-PLCA: associated pixels are drawn together,
without contrast to the others.
"""

import jax
import jax.numpy as jnp

from dajax.losses.association import cycle_association
from dajax.losses.label_smoothing import adaptive_label_smoothing
from dajax.losses.lovasz import lovasz_softmax
from dajax.losses.pair_similarity import pair_similarity
from dajax.losses.segmentation import cross_entropy_map, valid_pixels
from dajax.methods import _step
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation._micro_batches import accumulated_gradients
from dajax.models.apply import forward_train, split_rng
from dajax.ops.aggregation import aggregate
from dajax.ops.resize import resize_bilinear, resize_nearest_legacy
from dajax.ops.row_blocks import IMPLEMENTATIONS
from dajax.parallel import gather, masked_mean, share
from dajax.settings import choice

TASK = "segmentation"
KINDS = ("contrast", "similarity")


def init(rng, images, *, config, model, **_):
    """See interface.py.

    Raises:
      UserError: an unknown association.kind or association.implementation, or two heads.
    """
    choice(config, "association.kind", KINDS)
    choice(config, "association.implementation", IMPLEMENTATIONS)
    segmenter.check_heads(config, model, "single")
    segmenter.check_whole(config, model)
    return segmenter.initial_state(rng, images, config=config, model=model)


def plan(_state, *, data, config):
    """config.accumulate micro-batches of labelled source and of target images."""
    sizes = config.batch_size, config.accumulate
    return {
        "source": data.shuffled_with_labels("source", *sizes),
        "target": data.shuffled("target", *sizes),
    }


def _associated(source, target, labels, metric, *, config, axis_name):
    """The loss of one level, and the share of source pixels with a valid cycle.

    Args:
      source, target: float32 [N, h, w, C], features or probabilities.
      labels: int32 [N, h, w].
    """
    if config.aggregation_alpha:
        # the code; the paper's equation 7 has it for both
        contrast = config.contrast_normalisation and metric == "cosine"
        target = aggregate(
            target,
            metric=metric,
            alpha=config.aggregation_alpha,
            contrast=contrast,
            implementation=config.implementation,
        )
    found = cycle_association(
        source,
        target,
        labels,
        metric=metric,
        contrast=config.contrast_normalisation,
        implementation=config.implementation,
    )
    values = found.values
    if config.kind == "similarity":
        values = -pair_similarity(source, target, found, metric=metric)
    is_valid, everywhere = found.mask.astype(jnp.float32), jnp.ones_like(found.mask)
    return (
        masked_mean(values, found.mask, axis_name),
        masked_mean(is_valid, everywhere, axis_name),
    )


def _smoothing(logits, mask, *, config, axis_name):
    values = adaptive_label_smoothing(logits, config.threshold)  # [N, h, w]
    return masked_mean(values, _step.pixel_mask(mask, values.shape), axis_name)


def losses(source_output, target_output, batch, *, config, axis_name=None):
    """All terms of one micro-batch.

    Args:
      source_output, target_output: SegOutput.
      batch: "source" with label int32 [N, H, W] and mask [N], "target" with mask.

    Returns:
      (float32 scalar, this device's share of the loss; {name: share of the unweighted term}).
    """
    labels, mask = batch["source"]["label"], batch["source"]["mask"]
    pair_mask = mask & batch["target"]["mask"]
    valid = valid_pixels(labels, mask)
    upsampled = resize_bilinear(source_output.logits, labels.shape[1:], align_corners=False)
    terms = {"segmentation": masked_mean(cross_entropy_map(upsampled, labels), valid, axis_name)}
    weights = {"segmentation": 1.0}
    if config.lovasz_weight:
        whole = (gather(x, axis_name) for x in (jax.nn.softmax(upsampled), labels, valid))
        terms["lovasz"] = share(lovasz_softmax(*whole), axis_name)
        weights["lovasz"] = config.lovasz_weight
    association = config.association
    paired_labels = _step.without_padding(labels, pair_mask)
    low_labels = resize_nearest_legacy(paired_labels, source_output.logits.shape[1:3])
    levels = {
        "feature": (association.feature_level, "cosine", lambda output: output.features),
        "prediction": (
            association.prediction_level,
            "negative_kl",
            lambda output: jax.nn.softmax(output.logits),
        ),
    }
    for level, (is_on, metric, choose) in levels.items():
        if is_on:
            name = f"association_{level}"
            terms[name], terms[f"valid_cycles_{level}"] = _associated(
                choose(source_output),
                choose(target_output),
                low_labels,
                metric,
                config=association,
                axis_name=axis_name,
            )
            weights[name] = association.weight
    if config.label_smoothing.weight:
        for domain, output in (("source", source_output), ("target", target_output)):
            name = f"smoothing_{domain}"
            terms[name] = _smoothing(
                output.logits,
                batch[domain]["mask"],
                config=config.label_smoothing,
                axis_name=axis_name,
            )
            weights[name] = config.label_smoothing.weight
    return sum(weight * terms[name] for name, weight in weights.items()), terms


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One SGD step on the mean gradient of config.accumulate micro-batches, which move the running
    statistics one after the other.

    Args:
      batch: "source" with image [accumulate * N, h, w, 3], label int32 [.., H, W], mask; "target"
        with image and mask.
    """

    def loss_fn(params, batch_stats, micro, number):
        key = split_rng(rng, number)
        # both domains have one set of statistics
        passes = dict(norm_set=config.target_bn, axis_name=axis_name)
        target_output, batch_stats = forward_train(
            model, params, batch_stats, micro["target"], rng=split_rng(key, 0), **passes
        )
        source_output, batch_stats = forward_train(
            model, params, batch_stats, micro["source"], rng=split_rng(key, 1), **passes
        )
        loss, terms = losses(
            source_output, target_output, micro, config=config, axis_name=axis_name
        )
        return loss, (terms | {"loss": loss}, batch_stats)

    grads, batch_stats, terms = accumulated_gradients(loss_fn, state, batch, config.accumulate)
    return _step.finish(
        state, grads, batch_stats, terms, config=config, model=model, axis_name=axis_name
    )
