import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dajax import parallel
from dajax.errors import UserError

VALUES = jnp.arange(8.0)
# 1, 0, 2, 1 valid entries on four devices
UNEVEN = jnp.asarray([True, False, False, False, True, True, True, False])


def on_four(function):
    return jax.pmap(lambda *args: function(*args, parallel.AXIS), axis_name=parallel.AXIS)


def test_shares_of_a_masked_mean_sum_to_the_global_mean():
    shares = on_four(parallel.masked_mean)(VALUES.reshape(4, 2), UNEVEN.reshape(4, 2))
    np.testing.assert_allclose(shares.sum(), parallel.masked_mean(VALUES, UNEVEN))
    np.testing.assert_allclose(shares.sum(), (0 + 4 + 5 + 6) / 4)


def test_masked_mean_of_nothing_is_zero_with_zero_gradient():
    nothing = jnp.zeros(8, bool)
    value, grad = jax.value_and_grad(parallel.masked_mean)(VALUES.at[0].set(jnp.inf), nothing)
    assert value == 0 and not np.asarray(grad).any()


def test_gathered_losses_have_the_gradient_of_one_device():
    def loss(x, axis_name=None):
        everything = parallel.gather(x, axis_name)
        return parallel.share(jnp.square(everything.sum()) + (everything**3).sum(), axis_name)

    gradient = on_four(lambda x, axis: jax.grad(loss)(x, axis))(VALUES.reshape(4, 2))
    np.testing.assert_allclose(gradient.reshape(-1), jax.grad(loss)(VALUES), rtol=1e-6)


def test_masked_mean_needs_equal_shapes(unchecked_types):
    with pytest.raises(ValueError, match=r"\(8,\).*\(8, 1\)"):
        parallel.masked_mean(VALUES, UNEVEN[:, None])


def test_an_indivisible_batch_is_one_clear_line():
    with pytest.raises(
        UserError, match=r"config.can.batch_size=30 does not divide over 4 devices: use 28 or 32"
    ):
        parallel.check_divides(30, 4, "config.can.batch_size")


def test_more_devices_than_there_are_is_one_clear_line():
    with pytest.raises(UserError, match="config.runtime.devices=5: this machine has 4"):
        parallel.devices(5)


def test_the_compiler_is_told_of_little_memory_where_it_knows_how(unchecked_types):
    def told(platform):
        return parallel.compiler_options(types.SimpleNamespace(platform=platform))

    assert told("gpu") == {"xla_gpu_enable_latency_hiding_scheduler": False}
    assert told("tpu") == {}
    cpu = jax.devices()[0]
    assert told("cpu") == parallel.compiler_options(cpu) != {}
    doubled = jax.jit(lambda x: 2 * x, compiler_options=parallel.compiler_options(cpu))
    np.testing.assert_array_equal(doubled(VALUES), 2 * VALUES)


def test_compiled_map_keeps_batch_order():
    double = parallel.compile_map(lambda factor, x: factor * x, jax.devices())
    np.testing.assert_allclose(double(2.0, np.asarray(VALUES)), 2 * VALUES)


def test_four_devices_compile_a_step_once():
    traces = []

    def step(state, batch, rng, axis_name):
        traces.append(1)
        return state + parallel.total(batch.sum(), axis_name), {}

    compiled, state = parallel.compile_train_step(step, jax.devices()), jnp.zeros(())
    for _ in range(3):
        state, _ = compiled(state, np.asarray(VALUES), jax.random.key(0))
    np.testing.assert_allclose(state, 3 * VALUES.sum())
    assert len(traces) == 1
