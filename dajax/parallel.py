"""Several devices, in one file. Methods write the four words below and never a psum.

The promise: N devices give the same parameters as one device with the same global batch. It holds
because every loss is written as this device's SHARE of the global loss, so that summing gradients
over devices (`total`) gives the gradient of the global loss. Each word is the plain local thing
when there is no device axis (`axis_name=None`: jit on one device, notebooks).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dajax.errors import UserError

AXIS = "devices"


def masked_mean(values, mask, axis_name=None):
    """This device's share of the global mean of `values` where `mask`; the shares of all devices
    sum to the mean.

    Args:
      values: float [...].
      mask: bool [...], same shape.
      axis_name: device axis, or None.

    Returns:
      float scalar; 0 with zero gradient where no entry is valid on any device.
    """
    if values.shape != mask.shape:
        raise ValueError(
            f"masked_mean: values {values.shape} and mask {mask.shape} must have the same shape"
        )
    weights = mask.astype(values.dtype)
    count = total(weights.sum(), axis_name)
    return jnp.where(mask, values, jnp.zeros_like(values)).sum() / jnp.maximum(count, 1.0)


def share(x, axis_name=None):
    """`x` over the number of devices: the share of a value that every device computes in full (a
    loss over gathered features).
    """
    return x if axis_name is None else x / jax.lax.axis_size(axis_name)


def row_numbers(count, axis_name=None):
    """int32 [count]: the places in the whole batch of the `count` rows that this device holds."""
    rows = jnp.arange(count, dtype=jnp.int32)
    return (
        rows
        if axis_name is None
        else rows + count * jax.lax.axis_index(axis_name).astype(jnp.int32)
    )


def gather(x, axis_name=None):
    """[N, ...] of this device -> [devices * N, ...] of the whole batch, in batch order;
    differentiable.
    """
    return x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)


def total(tree, axis_name=None):
    """Sum of every leaf over devices."""
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def devices(requested):
    """The devices to train on: the first `requested` local ones, all of them when 0.

    Raises:
      UserError: more devices asked for than the machine has, or JAX finds none of the kind that
        JAX_PLATFORMS asks for.
    """
    found = _local_devices()
    if requested > len(found):
        has = f"this machine has {len(found)} ({found[0].platform})"
        raise UserError(
            f"config.runtime.devices={requested}: {has}; ask for at most that, or 0 for all"
        )
    return found[: requested or None]


def _local_devices():
    """The devices of this process; what JAX raises without one is a line."""
    try:
        return jax.local_devices()
    # the second where a platform has no plugin here
    except (RuntimeError, AssertionError) as error:
        asked, reason = jax.config.jax_platforms, str(error).strip().partition("\n")[0]
        because = f" ({reason})" if reason else ""
        raise UserError(
            f"JAX_PLATFORMS={asked}: JAX finds no such device here{because}; unset JAX_PLATFORMS,"
            " or install what that device needs (requirements.txt for an NVIDIA GPU,"
            " requirements-cpu.txt for none)"
        ) from error


def check_divides(batch_size, num_devices, key):
    """Raises UserError when a batch cannot be split evenly, naming the config key and the nearest
    sizes that can.
    """
    if batch_size % num_devices:
        lower = batch_size // num_devices * num_devices
        sizes = " or ".join(str(size) for size in (lower, lower + num_devices) if size)
        raise UserError(
            f"{key}={batch_size} does not divide over {num_devices} devices: use {sizes}, or"
            " another --config.runtime.devices"
        )


def _split(batch, num_devices):
    """Leaves [N, ...] -> [devices, N / devices, ...]."""
    return jax.tree.map(
        lambda leaf: leaf.reshape((num_devices, leaf.shape[0] // num_devices) + leaf.shape[1:]),
        batch,
    )


def compile_train_step(step, devices_):
    """`step(state, batch, rng, axis_name=...) -> (state, metrics)` compiled over `devices_`; the
    old state is donated.

    Args:
      step: pure; metrics are the same on every device (already summed with `total`).
      devices_: from `devices`.

    Returns:
      f(state, batch, rng) with batch leaves [N, ...], N divisible by the number of devices;
        f.lower(state, batch, rng) as jax.jit's.
    """
    if len(devices_) == 1:
        return jax.jit(functools.partial(step, axis_name=None), donate_argnums=0)
    mapped = jax.pmap(
        functools.partial(step, axis_name=AXIS),
        axis_name=AXIS,
        in_axes=(None, 0, None),
        out_axes=None,
        donate_argnums=0,
        devices=devices_,
    )

    everywhere = NamedSharding(Mesh(np.array(devices_), (AXIS,)), PartitionSpec())

    def replicate(state):
        """The placement in which the step returns a state: in any other the same step would be
        compiled a second time.
        """
        first = jax.tree.leaves(state)[0]
        return (
            state
            if getattr(first, "sharding", None) == everywhere
            else jax.device_put(state, everywhere)
        )

    def call(state, batch, rng):
        return mapped(replicate(state), _split(batch, len(devices_)), rng)

    call.lower = lambda state, batch, rng: mapped.lower(
        replicate(state), _split(batch, len(devices_)), rng
    )
    return call


def compile_map(function, devices_):
    """`function(variables, batch) -> tree of [N, ...]` compiled over `devices_`: no communication,
    rows come back in batch order.
    """
    if len(devices_) == 1:
        return jax.jit(function)
    mapped = jax.pmap(function, in_axes=(None, 0), devices=devices_)

    def call(variables, batch):
        out = mapped(variables, _split(batch, len(devices_)))
        return jax.tree.map(lambda leaf: leaf.reshape((-1,) + leaf.shape[2:]), out)

    return call


def round_up(size, devices_):
    """The next multiple of the number of devices: batches of a pass over a set are padded to it,
    and masked.
    """
    return -(-size // len(devices_)) * len(devices_)
