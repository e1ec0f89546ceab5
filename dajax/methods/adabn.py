"""AdaBN (Li et al., 2016): nothing is trained; the normalisation statistics are re-estimated on
unlabelled target images.

The honest floor for every method that shows the network target images: what those images do through
the statistics alone.
"""

import jax.numpy as jnp

from dajax.models.apply import forward_train, init_network
from dajax.state import TrainState


def init(rng, images, *, model, **_):
    """See interface.py."""
    params, batch_stats = init_network(rng, images, model=model)
    return TrainState.create(params=params, batch_stats=batch_stats, opt_state={})


def plan(_state, *, data, config):
    """One shuffled batch of target images."""
    return {"target": data.shuffled("target", config.batch_size)}


def train_step(state, batch, rng, *, config, model, axis_name=None):
    """Moves the running statistics of the target's set towards this batch's; parameters stay.
    batch["target"]: image, mask.
    """
    _, batch_stats = forward_train(
        model,
        state.params,
        state.batch_stats,
        batch["target"],
        norm_set=config.target_bn,
        axis_name=axis_name,
        rng=rng,
    )
    return state.replace(step=state.step + 1, batch_stats=batch_stats), {"loss": jnp.zeros(())}
