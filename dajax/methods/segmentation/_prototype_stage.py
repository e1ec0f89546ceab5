"""What SPCL and ProDA share: prototypes in TrainState.extra, which a refresh before the first step
makes.
"""

import jax.numpy as jnp

from dajax.schedule import Schedule


def empty_extra(num_classes):
    """f(width of the features) -> extra: prototypes float32 [K, D]; known bool [K], which classes
    have one; is_initialised bool, whether refresh has run.
    """

    def extra(width):
        return {
            "prototypes": jnp.zeros((num_classes, width)),
            "known": jnp.zeros(num_classes, bool),
            "is_initialised": jnp.zeros((), bool),
        }

    return extra


def schedule(state, *, config):
    """Prototypes before the first step, then config.steps steps."""
    step = int(state.step)
    return Schedule(
        refresh_at=None if state.extra["is_initialised"] else step,
        last_step=config.steps,
        finished=step >= config.steps,
    )
