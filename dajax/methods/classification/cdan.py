"""CDAN (Long et al., NeurIPS 2018): DANN whose discriminator sees the features together with the
predicted class.

Its input is the outer product of the class probabilities, detached, and the features: num_classes x
width numbers. With `randomized_dim` it is the product of two random projections of these, of so
many numbers, for many classes. With `entropy_conditioning` (CDAN+E) sure predictions weigh up to
twice unsure ones. As in thuml/Transfer-Learning-Library, alignment/cdan.py.
"""

import jax
import jax.numpy as jnp

from dajax.losses.domain_adversarial import (
    conditioned_features,
    entropy_weights,
    randomized_features,
)
from dajax.methods.classification import _two_batch_step as alignment
from dajax.models.apply import feature_width
from dajax.parallel import total

TASK = "classification"

plan = alignment.plan


def init(rng, images, *, config, model, **_):
    """See interface.py. Networks: classifier, discriminator.

    extra: with config.randomized_dim = d > 0 the random projections, random_features float32 [D, d]
    and random_classes [K, d].
    """
    dim = config.randomized_dim
    state = alignment.initial_state(
        rng,
        images,
        config=config,
        model=model,
        discriminator_inputs=lambda width: dim or width * model.num_classes,
    )
    if not dim:
        return state
    width = feature_width(model, state.params, state.batch_stats, images)
    return state.replace(
        extra={
            "random_features": jax.random.normal(jax.random.fold_in(rng, 2), (width, dim)),
            "random_classes": jax.random.normal(
                jax.random.fold_in(rng, 3), (model.num_classes, dim)
            ),
        }
    )


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step of the classifier and of the discriminator; batch as alignment.step takes it."""
    masks = batch["source"]["mask"], batch["target"]["mask"]

    def conditioned(features, logits):
        if config.randomized_dim:
            return randomized_features(
                features, logits, state.extra["random_features"], state.extra["random_classes"]
            )
        return conditioned_features(features, logits)

    def align(params, batch_stats, source, target):
        features = tuple(conditioned(output.features, output.logits) for output in (source, target))
        losses, terms, batch_stats = alignment.judge_domains(
            params, batch_stats, features, masks, state.step, config=config, axis_name=axis_name
        )
        mask = jnp.concatenate(masks)
        weights = mask.astype(jnp.float32)
        if config.entropy_conditioning:
            weights = entropy_weights(jnp.concatenate([source.logits, target.logits]), mask)
        return (
            (weights * losses).sum() / jnp.maximum(total(weights.sum(), axis_name), 1e-12),
            terms,
            batch_stats,
        )

    return alignment.step(state, batch, rng, align, config=config, model=model, axis_name=axis_name)
