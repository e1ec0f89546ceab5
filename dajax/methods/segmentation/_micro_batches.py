"""The gradient of a step that is the mean over micro-batches, one in memory at a time (PLCA)."""

import jax
import jax.numpy as jnp


def _micro_batches(batch, accumulate):
    """Leaves [accumulate * n, ...] -> [accumulate, n, ...]: every accumulate-th row, so that
    devices cut each micro-batch alike.
    """
    return jax.tree.map(
        lambda leaf: leaf.reshape(-1, accumulate, *leaf.shape[1:]).swapaxes(0, 1), batch
    )


def accumulated_gradients(loss_fn, state, batch, accumulate):
    """Gradients of `accumulate` micro-batches, which move the running statistics one after the
    other.

    Args:
      loss_fn: f(params, batch_stats, micro-batch, its number) -> (this device's share of the loss,
        ({name: share}, batch_stats)).
      state: TrainState.
      batch: leaves [accumulate * n, ...].

    Returns:
      (mean gradients, batch_stats, {name: mean share}).
    """

    def add(carry, numbered):
        (grads, batch_stats), (micro, number) = carry, numbered
        (_, (terms, batch_stats)), new = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, batch_stats, micro, number
        )
        return (jax.tree.map(jnp.add, grads, new), batch_stats), terms

    start = (jax.tree.map(jnp.zeros_like, state.params), state.batch_stats)
    if accumulate == 1:
        # XLA on a CPU convolves ten times slower inside of a loop, be it one of a single turn
        (grads, batch_stats), terms = add(start, (batch, 0))
    else:
        # a loop, not its unrolling: XLA would be free to hold the activations of several
        # micro-batches at a time
        (grads, batch_stats), terms = jax.lax.scan(
            add, start, (_micro_batches(batch, accumulate), jnp.arange(accumulate))
        )
    grads = jax.tree.map(lambda x: x / accumulate, grads)
    return grads, batch_stats, jax.tree.map(jnp.mean, terms)
