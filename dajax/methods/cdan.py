"""CDAN (Long et al., NeurIPS 2018): DANN whose discriminator sees the features together with the predicted class.

Its input is the outer product of the class probabilities, detached, and the features. With `entropy_conditioning` (CDAN+E) sure predictions
weigh up to twice unsure ones. As in thuml/Transfer-Learning-Library, alignment/cdan.py; its randomised map for many classes is left out:
the discriminator's first layer has num_classes x width inputs.
"""

import jax.numpy as jnp

from dajax.losses.domain_adversarial import conditioned_features, entropy_weights
from dajax.methods import alignment
from dajax.parallel import total

plan = alignment.plan


def init(rng, images, *, config, model, num_images):
    """See dajax.methods. Networks: classifier, discriminator."""
    del num_images
    return alignment.initial_state(rng, images, config=config, model=model, discriminator_inputs=lambda width: width * model.num_classes)


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step of the classifier and of the discriminator; batch as alignment.step takes it."""
    masks = batch["source"]["mask"], batch["target"]["mask"]

    def align(params, batch_stats, source, target):
        features = tuple(conditioned_features(output.features, output.logits) for output in (source, target))
        losses, terms, batch_stats = alignment.judge_domains(params, batch_stats, features, masks, state.step, config=config, axis_name=axis_name)
        mask = jnp.concatenate(masks)
        weights = mask.astype(jnp.float32)
        if config.entropy_conditioning:
            weights = entropy_weights(jnp.concatenate([source.logits, target.logits]), mask)
        return (weights * losses).sum() / jnp.maximum(total(weights.sum(), axis_name), 1e-12), terms, batch_stats

    return alignment.step(state, batch, rng, align, config=config, model=model, axis_name=axis_name)
