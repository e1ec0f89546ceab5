"""Small states to be written to checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dajax.state import TrainState


def make_state(step=1, value=1.0):
    """A state with parameters, statistics, momenta and extras; `value` fills the parameters."""
    params = {"classifier": {"w": jnp.full((3, 2), value)}}
    optimizer = optax.chain(optax.trace(0.9), optax.scale(0.1))
    extra = {"labels": jnp.arange(4, dtype=jnp.int32), "kept": jnp.asarray([True, False])}
    state = TrainState.create(
        params=params,
        batch_stats={"classifier": {"m": jnp.zeros(2)}},
        opt_state=optimizer.init(params),
        extra=extra,
    )
    return state.replace(step=jnp.int32(step))


def assert_same(a, b):
    """Bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, a, b)
