"""Whole iterations of SPCL's and DASS's code, composed of our losses and ops, and how near they
must come to the golden files.

The two iterations are what a method does between its forward passes and its optimiser.
"""

import jax
import jax.numpy as jnp
import numpy as np
from compare import assert_close
from golden_arrays import channels_first, everywhere

from dajax.losses.entropy import entropy_map
from dajax.losses.prototype_contrast import overlap_contrast, prototype_contrast
from dajax.losses.segmentation import cross_entropy_map, valid_pixels
from dajax.ops import prototypes as proto
from dajax.ops.prototypes import prototype_similarities
from dajax.ops.resize import resize_bilinear, resize_nearest_legacy
from dajax.ops.similarity import normalize
from dajax.parallel import masked_mean, total

# tests/golden/README.md, float32: relative; of the array's largest entry
VALUE_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4
CONTRAST_TOLERANCE = 5e-3  # at temperature 100, of loss - ln K
PAIR_TEMPERATURE = 0.1  # damnet_trainer.py (metric_loss); the files do not hold it


def assert_contrast(actual, expected, num_classes):
    """At SPCL's temperature the contrast is ln K for any prototypes: only its distance from that
    tells anything, and the gradient.
    """
    plain = np.log(num_classes)
    np.testing.assert_allclose(actual - plain, expected - plain, rtol=CONTRAST_TOLERANCE)


def assert_iteration_gradients(grads, case):
    """Gradients of `dass_iteration`'s total: those that dass_iter.npz has."""
    for domain in "st":
        found, expected = grads[f"feature_{domain}"], case[f"grad_feature_{domain}"]
        assert_close(channels_first(found), expected, GRADIENT_TOLERANCE)
    first = channels_first(grads["logits_t"][: len(case["grad_logits_t"])])
    assert_close(first, case["grad_logits_t"], GRADIENT_TOLERANCE)
    of_source, of_target = grads["logits_s"].sum((1, 2)), jnp.abs(grads["logits_t"]).sum((1, 2))
    assert_close(of_source, case["grad_logits_s_sum_hw"], GRADIENT_TOLERANCE)
    assert_close(of_target, case["grad_logits_t_abs_sum_hw"], GRADIENT_TOLERANCE)


LOGIT_DIVISOR = 1.8  # train_ours.py, of the source's logits before their cross-entropy


def spcl_iteration(
    prototypes, source, target, *, decay, weight, shrink_absent, temperature, axis_name=None
):
    """train_ours.py between the forward passes and the optimiser.

    Args:
      prototypes: float32 [K, D]. source: features, logits, labels (of any size). target: features
        and labels (of any size).

    Returns:
      (share of the loss, {term: share}, source mask, target mask, prototypes).
    """
    source_labels = resize_nearest_legacy(source["labels"], source["features"].shape[1:3])
    source_labels = jax.lax.stop_gradient(proto.keep_correct(source_labels, source["logits"]))
    target_labels = resize_nearest_legacy(target["labels"], target["features"].shape[1:3])
    sums = proto.sums_and_counts(
        normalize(source["features"]), source_labels, everywhere(source_labels), prototypes.shape[0]
    )
    batch_prototypes, present = proto.class_means(*total(jax.lax.stop_gradient(sums), axis_name))
    prototypes, _ = proto.move(
        prototypes,
        jnp.ones(len(prototypes), bool),
        batch_prototypes,
        present,
        decay=decay,
        shrink_absent=shrink_absent,
    )
    terms = {}
    for name, features, labels in (
        ("source", source["features"], source_labels),
        ("target", target["features"], target_labels),
    ):
        values, valid = prototype_contrast(
            features, prototypes, labels, temperature=temperature, normalize_prototypes=False
        )
        terms[f"contrast_{name}"] = masked_mean(values, valid, axis_name)
    logits = resize_bilinear(source["logits"], source["labels"].shape[1:]) / LOGIT_DIVISOR
    valid = valid_pixels(source["labels"], jnp.ones(logits.shape[0], bool))
    terms["segmentation"] = masked_mean(
        cross_entropy_map(logits, source["labels"]), valid, axis_name
    )
    loss = terms["segmentation"] + weight * (terms["contrast_source"] + terms["contrast_target"])
    return loss, terms, source_labels, target_labels, prototypes


def pair_losses(source_features, source_labels, target_features, target_labels, num_classes):
    """metric_loss of damnet_trainer.py: forward and backward contrast of each pair, float32 [N] and
    bool [N] each.
    """
    small, prototypes, present = {}, {}, {}
    for name, features, labels in (
        ("source", source_features, source_labels),
        ("target", target_features, target_labels),
    ):
        small[name] = resize_nearest_legacy(labels, features.shape[1:3])
        sums = proto.per_image_sums_and_counts(
            features, small[name], everywhere(small[name]), num_classes
        )
        prototypes[name], present[name] = jax.vmap(proto.class_means)(*sums)
    overlap = present["source"] & present["target"]

    def direction(features, labels, domain):
        def one(f, p, ok):
            return prototype_similarities(f, p, present=ok, normalize_prototypes=True)

        similarities = jax.vmap(one)(features, prototypes[domain], present[domain])
        resized = resize_nearest_legacy(similarities, labels.shape[1:])
        return overlap_contrast(resized, labels, overlap, temperature=PAIR_TEMPERATURE)

    return direction(target_features, target_labels, "source"), direction(
        source_features, source_labels, "target"
    )


def dass_iteration(source, target, *, target_weight, entropy_weight, contrast_weights):
    """Trainer.iter of damnet_trainer.py: {term: scalar}, weighted, and their sum under "total".
    Domains: logits, features, labels.
    """

    def segmentation(domain):
        valid = valid_pixels(domain["labels"], jnp.ones(len(domain["labels"]), bool))
        return masked_mean(cross_entropy_map(domain["logits"], domain["labels"]), valid)

    entropies = [
        entropy_map(domain["logits"], double_softmax=True).mean() for domain in (source, target)
    ]
    num_classes = source["logits"].shape[-1]
    pairs = pair_losses(
        source["features"], source["labels"], target["features"], target["labels"], num_classes
    )
    directions = zip(contrast_weights, pairs, strict=True)
    contrast = sum(weight * masked_mean(*direction) for weight, direction in directions)
    terms = {
        "source": segmentation(source),
        "target": segmentation(target),
        "metric": contrast,
        "entropy": entropy_weight * (entropies[0] + target_weight * entropies[1]),
    }
    total = terms["source"] + target_weight * terms["target"] + terms["entropy"] + terms["metric"]
    return terms | {"total": total}
