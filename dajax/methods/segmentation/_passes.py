"""Several passes of a segmenter in one step, each with its own batch statistics and gradient."""

import jax
import jax.numpy as jnp

from dajax.methods import _step
from dajax.models.apply import split_rng


def one_after_the_other(passes, state, key, begun=None):
    """(the sum of the gradients, {name: share}, batch_stats) of passes, none of which begins before
    the one before has its gradient: the activations of one alone are in memory.

    Args:
      passes: (f(params, batch_stats, key, part) -> (share of the loss, ({name: share},
        batch_stats)), part of the batch) of each.
      begun: what passes before these have given; None where there are none.
    """
    grads, terms, stats = begun or (None, {"loss": jnp.zeros(())}, state.batch_stats)
    for number, (loss_of, part) in enumerate(passes):
        part = part if grads is None else _step.not_before(grads, part)
        (loss, (found, stats)), more = jax.value_and_grad(loss_of, has_aux=True)(
            state.params, stats, split_rng(key, number), part
        )
        grads = more if grads is None else jax.tree.map(jnp.add, grads, more)
        terms = terms | found | {"loss": terms["loss"] + loss}
    return grads, terms, stats
