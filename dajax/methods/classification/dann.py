"""DANN, also called RevGrad (Ganin and Lempitsky, ICML 2015): a discriminator tells the domains'
features apart, the network fools it.

    min_F,C max_D  CE(C(F(source))) - weight * L_D
    L_D = 0.5 (mean BCE(D(F(source)), 1) + mean BCE(D(F(target)), 0))

in one backward pass: a gradient reversal between F and D multiplies the gradient by -lambda, which
rises from 0 with the steps (thuml/Transfer-Learning-Library, alignment/dann.py). The discriminator
itself gets the whole gradient from the first step on.
"""

import jax.numpy as jnp

from dajax.methods.classification import _two_batch_step as alignment
from dajax.parallel import masked_mean

TASK = "classification"

plan = alignment.plan


def init(rng, images, *, config, model, **_):
    """See interface.py. Networks: classifier, discriminator."""
    return alignment.initial_state(
        rng, images, config=config, model=model, discriminator_inputs=lambda width: width
    )


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """One step of the classifier and of the discriminator; batch as alignment.step takes it."""
    masks = batch["source"]["mask"], batch["target"]["mask"]

    def align(params, batch_stats, source, target):
        losses, terms, batch_stats = alignment.judge_domains(
            params,
            batch_stats,
            (source.features, target.features),
            masks,
            state.step,
            config=config,
            axis_name=axis_name,
        )
        of_source, of_target = (
            masked_mean(part, mask, axis_name)
            for part, mask in zip(jnp.split(losses, 2), masks, strict=True)
        )
        return 0.5 * (of_source + of_target), terms, batch_stats

    return alignment.step(state, batch, rng, align, config=config, model=model, axis_name=axis_name)
