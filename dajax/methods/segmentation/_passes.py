"""Several passes of a segmenter in one step, each with its own batch statistics and gradient."""

import jax
import jax.numpy as jnp

from dajax.models.apply import split_rng


def one_after_the_other(passes, state, key):
    """(the sum of the gradients, {name: share}, batch_stats) of passes, none of which begins before
    the one before has its gradient: the activations of one alone are in memory.

    Args:
      passes: f(params, batch_stats, key) -> (share of the loss, ({name: share}, batch_stats)).
    """
    params, stats, grads = state.params, state.batch_stats, None
    terms = {"loss": jnp.zeros(())}
    for number, loss_of in enumerate(passes):
        (loss, (found, stats)), more = jax.value_and_grad(loss_of, has_aux=True)(
            params, stats, split_rng(key, number)
        )
        grads = more if grads is None else jax.tree.map(jnp.add, grads, more)
        terms = terms | found | {"loss": terms["loss"] + loss}
        params, stats, grads = jax.lax.optimization_barrier((params, stats, grads))
    return grads, terms, stats
