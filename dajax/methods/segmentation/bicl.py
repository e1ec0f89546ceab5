"""BiCL, bi-directional contrastive learning (Lee et al., ECCV 2022), as on the authors' slides;
their released code (DASS) by option.

    CE(source) + 0.3 CE(target) + 0.4 (E(source) + 0.3 E(target)) + contrast_weight (FC + BC)

FC, forward contrast: a target pixel against the source prototypes rho_S. BC, backward: a source
pixel against the target's, rho_T. Prototypes are the class means of this batch's features. Moving
averages mu of both domains tell the domain bias xi = mu_T - mu_S. A target pixel whose cosine to
rho_S + xi exceeds a threshold gets that class, its dynamic label. Where it has none, the static
label of the round's file counts: hybrid labels y_T, which FC and rho_T use. CE(target) has the
static ones. Source and target pass one after the other, each with its own batch statistics, and
both move the running ones.

Slides against code: the released repository has neither mu, xi, dynamic nor hybrid labels. By
option here:

  target_weight,         L_base, which the slides leave undefined, and 0.3 and 0.4: code.
  entropy_weight
  entropy                "right", or "double_softmax": a slip of the code.
  contrast_kind="batch"  Slides: prototypes of the batch. Our choice: a mean over labelled pixels,
                         where the slides have a sum, which grows with the crop; on the grid of the
                         features; the least cosine, -1, for absent classes (code).
  contrast_kind="pair"   Code: source image n against target image n over the classes of both,
                         static labels, at the size of the labels. The code contrasts the outputs of
                         the four ASPP branches (4 x 19 channels), this the features of the
                         backbone.
  contrast_weight,       0.2 and 0.1: code; not on the slides.
  temperature
  forward, backward      Both: slides and code.
  prototype_gradient     True: code; not on the slides.
  decay                  Of the old mu, lambda: the slides give no value.
  dynamic                Slides. score="cosine" as there. score="probability", the softmax of cosine
                         / temperature, with threshold=0.8 is what a branch of the code means that
                         never runs. calibrate=False: rho_S without xi. xi is of the mu BEFORE this
                         step (our choice).
  dynamic.share=s        Ours, in place of the threshold: the score that a share s of the target's
                         pixels exceeds, by a histogram of the best scores of all pixels that moves
                         with `decay`, this batch's in it. It needs no labels. The slides' dynamic
                         labels cover 34.3 % of the pixels, 22.2 % without calibration.
  priority               "dynamic": slides. "static", a third party's port: dynamic labels fill the
                         gaps only.

The slides' ablation: contrast_weight=0 (L_base); backward=False (+FC); dynamic.on=False (+BC);
dynamic.calibrate=False; all. Not here: the code's convolutions that each domain has of its own
(conv1 to layer1), which the slides do not mention.
"""

import jax
import jax.numpy as jnp

from dajax.losses.entropy import entropy_map
from dajax.losses.prototype_contrast import overlap_contrast, prototype_contrast
from dajax.losses.segmentation import cross_entropy_map, valid_pixels
from dajax.methods import _step
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.ops import prototypes as proto
from dajax.ops.confidence import (
    NUM_BINS,
    fraction_threshold,
    move_histogram,
    score_histogram,
)
from dajax.ops.labels import IGNORED
from dajax.ops.prototypes import prototype_similarities
from dajax.ops.pseudo_labels import (
    dynamic_labels,
    hybrid_labels,
)
from dajax.ops.resize import resize_nearest_legacy
from dajax.parallel import masked_mean, share, total
from dajax.settings import SettingError, choice

TASK = "segmentation"
KNOWN = {
    "contrast_kind": ("batch", "pair"),
    "entropy": ("right", "double_softmax"),
    "priority": ("dynamic", "static"),
    "dynamic.score": ("cosine", "probability"),
}
LOWEST_SCORE = {"cosine": -1, "probability": 0}  # of a dynamic label


def check(config, model):
    """Raises UserError, naming the key, for settings that cannot be meant."""
    for key, known in KNOWN.items():
        choice(config, key, known)
    dynamic = config.dynamic
    if not config.temperature > 0:
        problem = "expected a positive number; the code has 0.1"
        raise SettingError("temperature", config.temperature, problem)
    if not 0 <= config.decay <= 1:
        problem = "expected the share of the old prototype, from 0 to 1"
        raise SettingError("decay", config.decay, problem)
    lowest = LOWEST_SCORE[dynamic.score]
    if not lowest <= dynamic.threshold < 1:
        problem = f"expected {lowest} to below 1, since dynamic.score='{dynamic.score}'"
        raise SettingError("dynamic.threshold", dynamic.threshold, problem)
    if not 0 <= dynamic.share < 1:
        problem = "expected a share of the target's pixels, below 1; 0: dynamic.threshold counts"
        raise SettingError("dynamic.share", dynamic.share, problem)
    if dynamic.share and not dynamic.on:
        problem = "there are no dynamic labels: set it to 0, or dynamic.on=True"
        raise SettingError("dynamic.share", dynamic.share, problem)
    if config.contrast_kind == "pair" and dynamic.on:
        problem = "the released code, which has no dynamic labels: set dynamic.on=False"
        raise SettingError("contrast_kind", "pair", problem)
    segmenter.check_heads(config, model, "single")
    segmenter.check_whole(config, model)


def init(rng, images, *, config, model, **_):
    """See interface.py. extra: moving prototypes mu_source, mu_target float32 [K, D];
    known_source, known_target bool [K], which exist; with dynamic.share the moving histogram of
    scores, float32 [B].

    Raises:
      UserError: unknown or contradictory settings, or two heads.
    """
    check(config, model)

    def extra(width):
        # arrays of their own: the step donates its state, and no buffer can be donated twice
        def mu():
            return jnp.zeros((model.num_classes, width), jnp.float32)

        def known():
            return jnp.zeros((model.num_classes,), bool)

        scores = {"scores": jnp.zeros((NUM_BINS,), jnp.float32)} if config.dynamic.share else {}
        return {
            "mu_source": mu(),
            "known_source": known(),
            "mu_target": mu(),
            "known_target": known(),
        } | scores

    return segmenter.initial_state(rng, images, config=config, model=model, extra=extra)


def plan(_state, *, data, config):
    """A shuffled batch of labelled source images and one of target images with the static labels
    that stage config.labels_from wrote.
    """
    size = config.batch_size
    return {
        "source": data.shuffled_with_labels("source", size),
        "target": data.with_pseudo_labels(size, config.labels_from),
    }


def _labels_of(part, size_hw):
    """The labels on the grid of the features, 255 in padded rows: int32 [N, h, w]."""
    return resize_nearest_legacy(_step.without_padding(part["label"], part["mask"]), size_hw)


def _batch_prototypes(features, labels, num_classes, *, axis_name):
    """Class means over the batch of all devices, (float32 [K, D], bool [K]); differentiable, see
    the test on four devices.
    """
    sums = proto.sums_and_counts(features, labels, labels != IGNORED, num_classes)
    return proto.class_means(*total(sums, axis_name))


def _dynamic(features, mask, source_prototypes, present, extra, *, config, axis_name):
    """Labels of target features from the source prototypes, calibrated if config.dynamic.calibrate.

    Args:
      mask: bool [N, h, w], False in padded rows.

    Returns:
      (int32 [N, h, w]; {"scores": the histogram after this step} with dynamic.share, else {}).
    """
    if config.dynamic.calibrate:
        source_prototypes += proto.domain_bias(
            *(extra[name] for name in ("mu_source", "known_source", "mu_target", "known_target"))
        )
    if config.dynamic.score == "cosine":
        scores = prototype_similarities(
            features, source_prototypes, present=present, normalize_prototypes=True
        )
    else:
        scores = proto.soft_assignment(
            features,
            source_prototypes,
            temperature=config.temperature,
            present=present,
            normalize_prototypes=True,
        )
    mask &= present.any()  # of no prototypes all are equally probable, and the first would win
    threshold, moved = config.dynamic.threshold, {}
    if config.dynamic.share:
        best = jax.lax.stop_gradient(scores).max(-1)
        counts = total(
            score_histogram(best, mask, lowest=LOWEST_SCORE[config.dynamic.score]), axis_name
        )
        moved = {"scores": move_histogram(extra["scores"], counts, decay=config.decay)}
        threshold = _share_threshold(moved, config)
    return jnp.where(mask, dynamic_labels(scores, threshold=threshold), IGNORED), moved


def _share_threshold(extra, config):
    """The score that config.dynamic.share of the target's pixels have exceeded of late: a float32
    scalar.
    """
    return fraction_threshold(
        extra["scores"], fraction=config.dynamic.share, lowest=LOWEST_SCORE[config.dynamic.score]
    )


def _batch_contrast(features, labels, target_mask, extra, num_classes, *, config, axis_name):
    """The slides: FC and BC with the prototypes of the batch, and the moving averages after this
    step.

    Args:
      features, labels: {"source", "target"}, float32 [N, h, w, D] and int32 [N, h, w], the target's
        labels static.
      target_mask: bool [N, h, w], False in padded rows.

    Returns:
      ({name: share of the term}, {name: int32 [N, h, w] target labels of a kind}, extra).
    """
    rho_source, in_source = _batch_prototypes(
        features["source"], labels["source"], num_classes, axis_name=axis_name
    )
    kinds, terms, moved = {"static": labels["target"]}, {}, {}
    hybrid = labels["target"]
    if config.dynamic.on:
        kinds["dynamic"], moved = _dynamic(
            features["target"],
            target_mask,
            rho_source,
            in_source,
            extra,
            config=config,
            axis_name=axis_name,
        )
        kinds["hybrid"] = hybrid = hybrid_labels(
            kinds["dynamic"], labels["target"], priority=config.priority
        )
    rho_target, in_target = _batch_prototypes(
        features["target"], hybrid, num_classes, axis_name=axis_name
    )
    for name, is_on, domain, pixel_labels, prototypes, present in (
        ("forward", config.forward, "target", hybrid, rho_source, in_source),
        ("backward", config.backward, "source", labels["source"], rho_target, in_target),
    ):
        if is_on:
            prototypes = (
                prototypes if config.prototype_gradient else jax.lax.stop_gradient(prototypes)
            )
            values, valid = prototype_contrast(
                features[domain],
                prototypes,
                pixel_labels,
                temperature=config.temperature,
                present=present,
                normalize_prototypes=True,
            )
            terms[name] = masked_mean(values, valid, axis_name)
    for domain, rho, present in (
        ("source", rho_source, in_source),
        ("target", rho_target, in_target),
    ):
        mu, known = proto.move(
            extra[f"mu_{domain}"], extra[f"known_{domain}"], rho, present, decay=config.decay
        )
        moved |= {f"mu_{domain}": mu, f"known_{domain}": known}
    return terms, kinds, moved


def _pair_contrast(features, labels, batch, num_classes, *, config, axis_name):
    """The released code (damnet_trainer.py, metric_loss): {name: share of the term}. Arguments as
    _batch_contrast.
    """
    prototypes, present = {}, {}
    for domain in ("source", "target"):
        sums = proto.per_image_sums_and_counts(
            features[domain], labels[domain], labels[domain] != IGNORED, num_classes
        )
        # [N, K, D], [N, K]
        prototypes[domain], present[domain] = jax.vmap(proto.class_means)(*sums)
    # none for a pair with a padded image
    overlap, terms = present["source"] & present["target"], {}

    def similarities(features, prototypes, present):
        prototypes = prototypes if config.prototype_gradient else jax.lax.stop_gradient(prototypes)
        return prototype_similarities(
            features, prototypes, present=present, normalize_prototypes=True
        )

    for name, is_on, domain, other in (
        ("forward", config.forward, "target", "source"),
        ("backward", config.backward, "source", "target"),
    ):
        if is_on:
            full_labels = batch[domain]["label"]
            # [N, h, w, K]
            found = jax.vmap(similarities)(features[domain], prototypes[other], present[other])
            found = resize_nearest_legacy(found, full_labels.shape[1:])
            values, has_pixels = overlap_contrast(
                found, full_labels, overlap, temperature=config.temperature
            )
            terms[name] = masked_mean(values, has_pixels, axis_name)
    return terms


def losses(source_seen, target_seen, batch, extra, *, config, axis_name=None):
    """All that a step computes between its forward passes and its optimiser.

    Args:
      source_seen, target_seen: segmenter.Seen, logits of the size of the labels.
      batch: "source" and "target", each with label int32 [N, H, W] (255: none; the target's static)
        and mask bool [N].
      extra: as in TrainState, the moving averages of the steps before.

    Returns:
      (float32 scalar, this device's share of the loss; {name: share of the unweighted term, or of
        the fraction of target pixels with a label of each kind}; extra, with the averages moved).
    """
    both, terms = {"source": source_seen, "target": target_seen}, {}
    for domain, seen in both.items():
        part, name = batch[domain], "segmentation" if domain == "source" else "segmentation_target"
        terms[name] = masked_mean(
            cross_entropy_map(seen.logits, part["label"]),
            valid_pixels(part["label"], part["mask"]),
            axis_name,
        )
        # [N, H, W]
        entropies = entropy_map(seen.logits, double_softmax=config.entropy == "double_softmax")
        terms[f"entropy_{domain}"] = masked_mean(
            entropies, _step.pixel_mask(part["mask"], entropies.shape), axis_name
        )
    loss = terms["segmentation"] + config.target_weight * terms["segmentation_target"]
    loss += config.entropy_weight * (
        terms["entropy_source"] + config.target_weight * terms["entropy_target"]
    )

    features = {domain: seen.features for domain, seen in both.items()}
    labels = {
        domain: _labels_of(batch[domain], seen.features.shape[1:3]) for domain, seen in both.items()
    }
    target_mask = _step.pixel_mask(batch["target"]["mask"], labels["target"].shape)
    num_classes, contrasts, kinds = source_seen.logits.shape[-1], {}, {"static": labels["target"]}
    shared = dict(config=config, axis_name=axis_name)
    if config.contrast_weight and (config.forward or config.backward):
        if config.contrast_kind == "batch":
            contrasts, kinds, extra = _batch_contrast(
                features, labels, target_mask, extra, num_classes, **shared
            )
            if config.dynamic.share:
                terms["dynamic_threshold"] = share(_share_threshold(extra, config), axis_name)
        else:
            contrasts = _pair_contrast(features, labels, batch, num_classes, **shared)
    for kind, found in kinds.items():
        terms[f"labelled_{kind}"] = masked_mean(
            (found != IGNORED).astype(jnp.float32), target_mask, axis_name
        )
    return loss + config.contrast_weight * sum(contrasts.values()), terms | contrasts, extra


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step of the segmenter; the moving averages are updated last.

    Args:
      batch: "source" and "target", each with image [N, h, w, 3], label int32 [N, H, W], mask [N].
    """
    return segmenter.step_on_both_domains(
        state, batch, losses, rng, config=config, model=model, axis_name=axis_name
    )
