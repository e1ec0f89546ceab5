"""Batch normalisation as torch computes it, with a set of parameters and statistics per domain, for
several devices and padded batches.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp


class Mode(NamedTuple):
    """How one forward pass normalises, and what it draws at random.

    Attributes:
      train: True: normalise with batch statistics, and move the running ones. False: normalise with
        the running ones.
      norm_set: which set of parameters and statistics; a Python int, static under jit.
      mask: bool [N], the rows that count in the batch statistics; None for all. The other rows are
        normalised with these statistics too.
      axis_name: the device axis over which batch statistics are synchronised, or None.
      rows: int32 [N], a different number for each row of the whole batch over all devices; only
        dropout and drop path read it.
      deterministic: in training too nothing is drawn: dropout and drop path keep everything, and
        HRDA predicts whole images instead of a crop. So a teacher sees images: with batch
        statistics, without noise.
      token_mask: bool [N, rows, columns], tokens of a ViT that its mask token replaces; None for
        none. Its size is ViTSegmenter.token_grid's.
    """

    train: bool = False
    norm_set: int = 0
    mask: jax.Array | None = None
    axis_name: str | None = None
    rows: jax.Array | None = None
    deterministic: bool = False
    token_mask: jax.Array | None = None

    @property
    def is_random(self):
        """Whether dropout and drop path drop, and HRDA draws its crop."""
        return self.train and not self.deterministic


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

        chosen = mode.norm_set
        running = running_mean.value[chosen], running_var.value[chosen]  # [C], [C]
        if self.frozen or not mode.train or self.is_initializing():
            return _affine(x, *running, scale[chosen], bias[chosen], self.epsilon)
        if mode.mask is not None and mode.mask.shape != x.shape[:1]:
            raise ValueError(
                f"the mask {mode.mask.shape} must have one entry for each row of {x.shape}"
            )
        mask = jnp.ones(x.shape[:1], bool) if mode.mask is None else mode.mask
        y, batch_mean, batch_var, count = _normalized(
            x, mask, *running, scale[chosen], bias[chosen], mode.axis_name, self.epsilon
        )
        unbiased = batch_var * count / jnp.maximum(count - 1.0, 1.0)
        mean, var = running
        new_mean = jnp.where(count > 0, mean + self.momentum * (batch_mean - mean), mean)
        # A single position has no unbiased variance.
        new_var = jnp.where(count > 1, var + self.momentum * (unbiased - var), var)
        running_mean.value = running_mean.value.at[chosen].set(new_mean)
        running_var.value = running_var.value.at[chosen].set(new_var)
        return y


class NormSettings(NamedTuple):
    """How the batch normalisation of a network is, in a form that a module's attribute can have.

    Attributes:
      num_domains, train_affine: as DomainBatchNorm has them.
      kind: "train"; "frozen", running statistics also in training; "frozen_no_eps", the same with
        epsilon 0.
    """

    num_domains: int = 1
    kind: str = "train"
    train_affine: bool = True

    def layer(self, name):
        """A DomainBatchNorm of this name."""
        return DomainBatchNorm(
            self.num_domains,
            epsilon=0.0 if self.kind == "frozen_no_eps" else 1e-5,  # 1e-5: torch's default
            frozen=self.kind != "train",
            train_affine=self.train_affine,
            name=name,
        )


def _over_rows(x, values):
    """[C] shaped to be broadcast over all axes of x but the last."""
    return values.reshape((1,) * (x.ndim - 1) + (-1,))


def _affine(x, mean, var, scale, bias, epsilon):
    """x normalised by a mean and a variance, in float32, and typed like x."""
    gain = scale * jax.lax.rsqrt(var + epsilon)  # [C]
    y = (x.astype(jnp.float32) - _over_rows(x, mean)) * _over_rows(x, gain)
    return (y + _over_rows(x, bias)).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(6, 7))
def _normalized(x, mask, running_mean, running_var, scale, bias, axis_name, epsilon):
    """x normalised by the statistics of the rows in `mask` over all devices.

    Its gradient keeps x, in its own type, and numbers of shape [C]. That of the same lines by
    automatic differentiation would keep x, a centred copy and a masked one, in float32 each.

    Args:
      x: float [N, ..., C].
      mask: bool [N].
      running_mean, running_var, scale, bias: float32 [C]; the running ones normalise where no row
        counts on any device.

    Returns:
      (shaped and typed like x; mean [C], biased variance [C] and number of positions that count, a
        scalar, float32, zeros where none counts. No gradient flows through these).
    """
    return _normalized_forward(x, mask, running_mean, running_var, scale, bias, axis_name, epsilon)[
        0
    ]


def _normalized_forward(x, mask, running_mean, running_var, scale, bias, axis_name, epsilon):
    batch_mean, batch_var, count = _batch_statistics(x, mask, axis_name)
    # Where no row counts, var = 0 would multiply by 1 / sqrt(epsilon) in each of a hundred layers:
    # infinity, and NaN gradients.
    mean = jnp.where(count > 0, batch_mean, running_mean)
    var = jnp.where(count > 0, batch_var, running_var)
    y = _affine(x, mean, var, scale, bias, epsilon)
    return (y, batch_mean, batch_var, count), (x, mask, mean, var, count, scale)


def _normalized_backward(axis_name, epsilon, saved, cotangents):
    x, mask, mean, var, count, scale = saved
    grad, centred = cotangents[0].astype(jnp.float32), x.astype(jnp.float32) - _over_rows(x, mean)
    axes = tuple(range(x.ndim - 1))
    bias_grad, gain_grad = grad.sum(axes), (grad * centred).sum(axes)  # this device's, [C]
    inverse = jax.lax.rsqrt(var + epsilon)
    gain, divisor = scale * inverse, jnp.maximum(count, 1.0)
    # The statistics are of all devices, so that every device's loss depends on them.
    to_mean, to_gain = _total((bias_grad, gain_grad), axis_name)
    # what a row that counts gets through mean and variance, [N, C] and then [N, 1, ..., 1, C]
    to_mean, to_var = (
        jnp.where(mask[:, None], gain * total / divisor, 0.0).reshape(
            mask.shape + (1,) * (x.ndim - 2) + (-1,)
        )
        for total in (to_mean, jnp.square(inverse) * to_gain)
    )
    x_grad = grad * _over_rows(x, gain) - (to_mean + centred * to_var)
    none = jnp.zeros_like(mean)
    return x_grad.astype(x.dtype), None, none, none, gain_grad * inverse, bias_grad


_normalized.defvjp(_normalized_forward, _normalized_backward)


def _total(values, axis_name):
    return values if axis_name is None else jax.lax.psum(values, axis_name)


def _batch_statistics(x, mask, axis_name):
    """Mean and biased variance of the rows in `mask` over all devices.

    It takes two passes, and so a second psum of [C]: E[x^2] - E[x]^2 cancels in float32 where the
    mean is large.

    Args:
      x: float [N, ..., C].
      mask: bool [N].
      axis_name: device axis, or None.

    Returns:
      (mean [C], variance [C], number of positions that count, a scalar), float32; zeros where none
        counts.
    """
    x, inside = x.astype(jnp.float32), tuple(range(1, x.ndim - 1))
    positions = x[..., 0].size // x.shape[0]  # H * W
    count = _total(mask.astype(jnp.float32).sum() * positions, axis_name)

    def mean_over_rows(values):
        """Of [N, ..., C]; the mask meets a number for each row and channel, not each pixel."""
        rows = jnp.where(mask[:, None], values.sum(inside), 0.0)  # [N, C]
        return _total(rows.sum(0), axis_name) / jnp.maximum(count, 1.0)

    mean = mean_over_rows(x)
    return mean, mean_over_rows(jnp.square(x - _over_rows(x, mean))), count
