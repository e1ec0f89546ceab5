"""The line about a step's memory: true to the shapes, on one device and on four, and a warning
where it does not fit.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dajax import parallel
from dajax.engine import memory


def step(state, batch, rng, axis_name):
    """Needs a product of 4 MiB for each row that a device has."""
    product = jnp.einsum("nd,e->nde", batch, state)
    return state + parallel.total(jnp.sin(product).sort(axis=1)[:, 0].sum(0), axis_name), {}


@pytest.mark.parametrize("count", [1, 4])
def test_working_memory_is_a_devices_own(capsys, count):
    devices = jax.devices()[:count]
    compiled = parallel.compile_train_step(step, devices)
    arguments = jnp.ones(1024), np.ones((4, 1024), np.float32), jax.random.key(0)
    memory.report("plca", compiled, arguments, devices)
    printed = capsys.readouterr().out
    working = float(re.search(r"working memory (\d+) MiB", printed)[1])
    assert "\nplca: a step needs" in printed and "WARNING" not in printed
    assert 4 * 4 / count <= working <= 3 * 4 * 4 / count + 1
    compiled(*arguments)


def test_a_device_with_less_is_warned_of(capsys, monkeypatch):
    monkeypatch.setattr(memory, "_available", lambda devices: (1000, "toy"))
    arguments = jnp.ones(64), np.ones((4, 64), np.float32), jax.random.key(0)
    memory.report(
        "plca", parallel.compile_train_step(step, jax.devices()[:1]), arguments, jax.devices()[:1]
    )
    printed = capsys.readouterr().out
    assert (
        "toy has 0 MiB" in printed and "WARNING" in printed and "config.plca.batch_size" in printed
    )
