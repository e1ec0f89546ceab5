"""SPCL's and DASS's golden vectors in this repository's layout, and whole iterations composed of
the pieces.

The two iterations are what a method does between its forward passes and its optimiser; tests of
methods may compare with them too.
"""

import jax
import jax.numpy as jnp
import numpy as np

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


def last(x):
    """Channels last, float32: [..., C, h, w] -> [..., h, w, C]."""
    return jnp.asarray(np.moveaxis(x, -3, -1), jnp.float32)


def ints(x):
    return jnp.asarray(x, jnp.int32)


def assert_value(actual, expected, tolerance=VALUE_TOLERANCE):
    np.testing.assert_allclose(actual, expected, rtol=tolerance)


def assert_close(actual, expected, tolerance=GRADIENT_TOLERANCE):
    assert np.abs(expected).max() > 0, "nothing to compare"
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def everywhere(labels):
    return jnp.ones(labels.shape, bool)


def spcl_iteration(
    prototypes, source, target, *, decay, weight, shrink_absent, temperature=100.0, axis_name=None
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
    logits = resize_bilinear(source["logits"], source["labels"].shape[1:]) / 1.8  # train_ours.py
    valid = valid_pixels(source["labels"], jnp.ones(logits.shape[0], bool))
    terms["segmentation"] = masked_mean(
        cross_entropy_map(logits, source["labels"]), valid, axis_name
    )
    loss = terms["segmentation"] + weight * (terms["contrast_source"] + terms["contrast_target"])
    return loss, terms, source_labels, target_labels, prototypes


def pair_losses(source_features, source_labels, target_features, target_labels, num_classes=19):
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
        return overlap_contrast(
            resize_nearest_legacy(similarities, labels.shape[1:]), labels, overlap, temperature=0.1
        )

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
    pairs = pair_losses(source["features"], source["labels"], target["features"], target["labels"])
    contrast = sum(
        weight * masked_mean(*direction) for weight, direction in zip(contrast_weights, pairs)
    )
    terms = {
        "source": segmentation(source),
        "target": segmentation(target),
        "metric": contrast,
        "entropy": entropy_weight * (entropies[0] + target_weight * entropies[1]),
    }
    return terms | {
        "total": (
            terms["source"] + target_weight * terms["target"] + terms["entropy"] + terms["metric"]
        )
    }
