"""Several devices, in one file. Methods write the four words below and never a psum.

The promise: N devices give the same parameters as one device with the same global batch. For it,
every loss is written as this device's SHARE of the global loss: the sum of the gradients over
devices (`total`) is then the gradient of the global loss. Without a device axis (`axis_name=None`:
jit on one device, notebooks) this device has the whole batch, and each word does what its name says
there.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dajax.errors import UserError
from dajax.typing import AnyArray, Array, Bool, Float, Int, PyTree, Shaped

AXIS = "devices"
# Of compile_map: pmap gives the axes of an empty tree to the leaves that follow it.
NO_VARIABLES = np.zeros((), np.float32)
# `compiler_options` by platform: the order of a program's operations, not what they compute.
# CPU: it orders a program so that much can run at a time, both forward passes of a step before
# either backward pass. The other order takes half of the memory.
# GPU: jax 0.11 orders a program so that a device need not wait for others, in whatever memory it
# has, and one device waits for none: PLCA's step as published planned 43 GiB so, and 19 without.
_IN_LITTLE_MEMORY = {
    "cpu": {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"},
    "gpu": {"xla_gpu_enable_latency_hiding_scheduler": False},
}


def masked_mean(
    values: Float[Array, "*shape"], mask: Bool[AnyArray, "*shape"], axis_name: str | None = None
) -> Float[Array, ""]:
    """This device's share of the global mean of `values` where `mask`: the sum of the shares over
    the devices is the mean.

    Args:
      values: float [...].
      mask: bool [...], same shape.
      axis_name: device axis, or None.

    Returns:
      float scalar; 0 with zero gradient where no entry is valid on any device.

    Raises:
      ValueError: the shapes differ.
    """
    if values.shape != mask.shape:
        raise ValueError(
            f"masked_mean: values {values.shape} and mask {mask.shape} must have the same shape"
        )
    weights = mask.astype(values.dtype)
    count = total(weights.sum(), axis_name)
    return jnp.where(mask, values, jnp.zeros_like(values)).sum() / jnp.maximum(count, 1.0)


def share(x: Float[Array, "*shape"], axis_name: str | None = None) -> Float[Array, "*shape"]:
    """`x` divided by the number of devices: this device's share of a value that every device
    computes in full, such as a loss over gathered features.
    """
    return x if axis_name is None else x / jax.lax.axis_size(axis_name)


def row_numbers(count: int, axis_name: str | None = None) -> Int[Array, " count"]:
    """int32 [count]: the places in the whole batch of the `count` rows that this device holds."""
    rows = jnp.arange(count, dtype=jnp.int32)
    if axis_name is None:
        return rows
    return rows + count * jax.lax.axis_index(axis_name).astype(jnp.int32)


def gather(
    x: Shaped[AnyArray, "N ..."], axis_name: str | None = None
) -> Shaped[AnyArray, "batch ..."]:
    """The rows of the whole batch, in its order, from this device's: [N, ...] -> [devices * N,
    ...]; differentiable.
    """
    return x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)


def total(tree: PyTree, axis_name: str | None = None) -> PyTree:
    """Sum of every leaf over devices."""
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def devices(requested: int) -> list[jax.Device]:
    """The devices to train on: the first `requested` of this process, all of them when 0; where a
    run has several processes, those of each of them, process after process.

    Raises:
      UserError: more devices asked for than the machine has, JAX finds none of the kind that
        JAX_PLATFORMS asks for, or the processes have different numbers of them.
    """
    found = _local_devices()
    if requested > len(found):
        has = f"this machine has {len(found)} ({found[0].platform})"
        raise UserError(
            f"config.runtime.devices={requested}: {has}; ask for at most that, or 0 for all"
        )
    chosen = found[: requested or None]
    if jax.process_count() == 1:
        return chosen
    of_each = [
        sorted((d for d in jax.devices() if d.process_index == process), key=lambda d: d.id)
        for process in range(jax.process_count())
    ]
    counts = [len(of_one[: requested or None]) for of_one in of_each]
    if len(set(counts)) > 1:
        raise UserError(
            f"config.runtime.devices={requested}: the processes have {counts} devices; each needs"
            " as many as the others: ask for a number that all of them have"
        )
    return [device for of_one in of_each for device in of_one[: requested or None]]


def local(devices_: Sequence[jax.Device]) -> list[jax.Device]:
    """Those of the devices that belong to this process."""
    own = jax.process_index()
    return [device for device in devices_ if device.process_index == own]


def _local_devices():
    """The devices of this process, with one clear line where JAX finds none."""
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


def check_divides(batch_size: int, num_devices: int, key: str) -> None:
    """Raises UserError where a batch does not split evenly; it names the config key and the nearest
    sizes that do.
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


def compiler_options(device: jax.Device) -> dict[str, str | bool]:
    """What XLA's compiler is told of a program that holds gradients and runs on one device, so that
    it takes little memory; for jax.jit.
    """
    return dict(_IN_LITTLE_MEMORY.get(device.platform, {}))


def compile_train_step(step: Callable, devices_: Sequence[jax.Device]) -> Callable:
    """`step(state, batch, rng, axis_name=...) -> (state, metrics)` compiled over `devices_`; the
    old state is donated.

    Args:
      step: pure; metrics are the same on every device (already summed with `total`).
      devices_: from `devices`.

    Returns:
      f(state, batch, rng) with batch leaves [N, ...], this process's share of the rows of the whole
        batch, N divisible by the number of its devices. f.lower(state, batch, rng) is that of
        jax.jit.
    """
    if len(devices_) == 1:
        return jax.jit(
            functools.partial(step, axis_name=None),
            donate_argnums=0,
            compiler_options=compiler_options(devices_[0]),
        )
    mapped = jax.pmap(
        functools.partial(step, axis_name=AXIS),
        axis_name=AXIS,
        in_axes=(None, 0, None),
        out_axes=None,
        donate_argnums=0,
        devices=devices_,
    )

    own = local(devices_)
    everywhere = NamedSharding(Mesh(np.array(own), (AXIS,)), PartitionSpec())

    def replicate(state):
        """The state as the step returns it, on every device of this process; with any other
        placement the step would be compiled a second time.
        """
        first = jax.tree.leaves(state)[0]
        return (
            state
            if getattr(first, "sharding", None) == everywhere
            else jax.device_put(state, everywhere)
        )

    def call(state, batch, rng):
        return in_order(mapped(replicate(state), _split(batch, len(own)), rng))

    call.lower = lambda state, batch, rng: mapped.lower(
        replicate(state), _split(batch, len(own)), rng
    )
    return call


def in_order(tree: PyTree) -> PyTree:
    """The results of a program in which devices of several processes speak with each other: on CPUs
    once they are there. Two such programs under way at once, which JAX allows there, mix up their
    messages; accelerators run one after the other.
    """
    if jax.process_count() > 1 and jax.default_backend() == "cpu":
        jax.block_until_ready(tree)
    return tree


def compile_map(function: Callable, devices_: Sequence[jax.Device]) -> Callable:
    """`function(variables, batch) -> tree of [N, ...]` compiled over those of `devices_` that
    belong to this process.

    Each device computes its rows alone, and the rows come back in batch order. `variables` is not
    empty: NO_VARIABLES where a function has none.
    """
    own = local(devices_)
    if len(own) == 1:
        return jax.jit(function)
    mapped = jax.pmap(function, in_axes=(None, 0), devices=own)

    def call(variables, batch):
        out = mapped(variables, _split(batch, len(own)))
        return jax.tree.map(lambda leaf: leaf.reshape((-1,) + leaf.shape[2:]), out)

    return call


def round_up(size: int, devices_: Sequence[jax.Device]) -> int:
    """`size`, or the next multiple of the number of devices, to which the batches of a pass over a
    set are padded.
    """
    return -(-size // len(devices_)) * len(devices_)
