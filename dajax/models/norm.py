"""Batch normalisation as torch computes it, with a set of parameters and statistics per domain, for
several devices and padded batches.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp


class Mode(NamedTuple):
    """How one forward pass normalises, and which entries its dropout drops.

    Attributes:
      train: True: normalise with batch statistics, and move the running ones. False: normalise with
        the running ones.
      norm_set: which set of parameters and statistics; a Python int, static under jit.
      mask: bool [N], the rows that count in the batch statistics; None for all. The other rows are
        normalised with these statistics too.
      axis_name: the device axis over which batch statistics are synchronised, or None.
      rows: int32 [N], a different number for each row of the whole batch over all devices; only
        dropout reads it.
    """

    train: bool = False
    norm_set: int = 0
    mask: jax.Array | None = None
    axis_name: str | None = None
    rows: jax.Array | None = None


class DomainBatchNorm(nn.Module):
    """Batch normalisation with a complete set of parameters and statistics per domain (CAN,
    model/domain_specific_module.py).

    Params are `scale` and `bias`, batch_stats `mean` and `var`, all float32 [num_domains, C]. As in
    torch, the biased batch variance normalises, and the UNBIASED one enters the running variance;
    flax's own BatchNorm stores the biased one.

    Attributes:
      num_domains: sets of parameters and statistics.
      momentum: torch's sense, running = (1 - momentum) * running + momentum * batch.
      epsilon: added to the variance.
      frozen: the running statistics normalise in training too, and never move.
      train_affine: `scale` and `bias` take gradients.
      scale_init: initialiser of `scale`.
    """

    num_domains: int = 1
    momentum: float = 0.1
    epsilon: float = 1e-5
    frozen: bool = False
    train_affine: bool = True
    scale_init: Callable = nn.initializers.ones_init()

    @nn.compact
    def __call__(self, x, mode):
        """Normalises over all axes but the last.

        Args:
          x: float [N, C] or [N, H, W, C].
          mode: Mode. In training the collection batch_stats must be mutable.

        Returns:
          Shaped and typed like x. Where no row counts on any device, the running statistics
            normalise, and do not move.

        Raises:
          ValueError: the layer has no such set, or the mask does not fit x.
        """
        if not 0 <= mode.norm_set < self.num_domains:
            raise ValueError(
                f"norm_set {mode.norm_set}: this network has {self.num_domains} of them; build"
                " it with more num_domains"
            )
        shape = (self.num_domains, x.shape[-1])
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        if not self.train_affine:
            scale, bias = jax.lax.stop_gradient((scale, bias))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)

        mean, var = running_mean.value[mode.norm_set], running_var.value[mode.norm_set]  # [C], [C]
        if mode.train and not self.frozen and not self.is_initializing():
            batch_mean, batch_var, count = _batch_statistics(x, mode.mask, mode.axis_name)
            unbiased = batch_var * count / jnp.maximum(count - 1.0, 1.0)
            new_mean = jnp.where(count > 0, mean + self.momentum * (batch_mean - mean), mean)
            # A single position has no unbiased variance.
            new_var = jnp.where(count > 1, var + self.momentum * (unbiased - var), var)
            running_mean.value = running_mean.value.at[mode.norm_set].set(new_mean)
            running_var.value = running_var.value.at[mode.norm_set].set(new_var)
            # Where no row counts, var = 0 would multiply by 1 / sqrt(epsilon) in each of a hundred
            # layers: infinity, and NaN gradients.
            mean = jnp.where(count > 0, batch_mean, mean)
            var = jnp.where(count > 0, batch_var, var)

        over_rows = (1,) * (x.ndim - 1) + (-1,)
        gain = scale[mode.norm_set] * jax.lax.rsqrt(var + self.epsilon)  # [C]
        shift = bias[mode.norm_set]  # [C]
        y = (x.astype(jnp.float32) - mean.reshape(over_rows)) * gain.reshape(over_rows)
        return (y + shift.reshape(over_rows)).astype(x.dtype)


def _batch_statistics(x, mask, axis_name):
    """Mean and biased variance of the rows in `mask` over all devices.

    It takes two passes, and so a second psum of [C]: E[x^2] - E[x]^2 cancels in float32 where the
    mean is large.

    Args:
      x: float [N, ..., C].
      mask: bool [N], or None for all rows.
      axis_name: device axis, or None.

    Returns:
      (mean [C], variance [C], number of positions that count, a scalar), float32; zeros where none
        counts.
    """
    x = x.astype(jnp.float32)
    axes = tuple(range(x.ndim - 1))
    if mask is None:
        mask = jnp.ones(x.shape[:1], bool)
    if mask.shape != x.shape[:1]:
        raise ValueError(f"the mask {mask.shape} must have one entry for each row of {x.shape}")
    counts = mask.reshape(mask.shape + (1,) * (x.ndim - 1))  # [N, 1, ..., 1]
    positions = x[..., 0].size // x.shape[0]  # H * W

    def total(values):
        return values if axis_name is None else jax.lax.psum(values, axis_name)

    count = total(mask.astype(jnp.float32).sum() * positions)
    divisor = jnp.maximum(count, 1.0)
    mean = total(jnp.where(counts, x, 0.0).sum(axes)) / divisor  # [C]
    centred = jnp.where(counts, x - mean.reshape((1,) * (x.ndim - 1) + (-1,)), 0.0)
    var = total(jnp.square(centred).sum(axes)) / divisor  # [C]
    return mean, var, count
