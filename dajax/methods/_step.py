"""What every method does at the beginning and at the end of a step, whatever its task: optimisers,
updates, figures for the log, and the mask of rows at every pixel.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from dajax import optim
from dajax.ops.labels import IGNORED
from dajax.parallel import total
from dajax.settings import part_of_config
from dajax.state import TrainState

SOURCE_NORM_SET = 0  # normalisation parameters and statistics of the source in every network


class Optimizer(NamedTuple):
    """One optimiser of a stage.

    Attributes:
      transformation: of optax.
      learning_rate: f(step) -> float32 scalar, before the multipliers of parameter groups.
    """

    transformation: optax.GradientTransformation
    learning_rate: Callable[[jax.Array], jax.Array]


def optimizer_at(key, config, params, *, frozen=()):
    """The Optimizer that a stage's config[key] describes.

    Args:
      key: "optimizer", or that of another one.
      config: of the stage; its `steps`, where it has them, are the length of the schedules.
      params: {network: tree}; frozen: as optim.make_optimizer takes them.

    Raises:
      UserError: settings that cannot be meant.
    """
    # A stage without steps runs in loops, and its schedule does not read the length.
    steps = config.steps if "steps" in config else 0
    with part_of_config(key):
        return Optimizer(
            optim.make_optimizer(config[key], params, steps=steps, frozen=frozen),
            optim.make_schedule(config[key], steps),
        )


def optimizer_of(config, model, params, frozen=()):
    """config.optimizer over all networks, which leaves alone what the main one freezes and what
    `frozen` matches.
    """
    return optimizer_at("optimizer", config, params, frozen=(*model.frozen_parameters(), *frozen))


def initial_state(params, batch_stats, *, config, model, extra=None, frozen=()):
    """TrainState at step 0 of a stage with one optimiser; frozen: as `optimizer_of` takes it."""
    opt_state = optimizer_of(config, model, params, frozen).transformation.init(params)
    return TrainState.create(
        params=params, batch_stats=batch_stats, opt_state=opt_state, extra=extra
    )


def finish(state, grads, batch_stats, shares, *, config, model, axis_name, frozen=()):
    """The end of a step with one optimiser.

    Args:
      state: at the beginning of the step.
      grads: of this device's share of the loss, like state.params.
      batch_stats: the statistics after the step.
      shares: {name: this device's share of a figure}.
      frozen: as `initial_state` was given it.

    Returns:
      (TrainState after the step; {name: float scalar}: the figures of the whole batch,
        "grad_norm", a cheap witness that nothing has gone non-finite, and "learning_rate").
    """
    optimizer, grads = optimizer_of(config, model, state.params, frozen), total(grads, axis_name)
    params, opt_state = optim.update(optimizer.transformation, grads, state.opt_state, state.params)
    figures = {
        "grad_norm": optax.global_norm(grads),
        "learning_rate": optimizer.learning_rate(state.step),
    }
    after = state.replace(
        step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state
    )
    return after, total(shares, axis_name) | figures


def initial_opt_states(optimizers, parts):
    """{part: state of its optimiser} at step 0; arguments as update_parts has them."""
    return {name: own.transformation.init(parts[name]) for name, own in optimizers.items()}


def update_parts(optimizers, grads, opt_state, parts):
    """One update of some parts of the parameters that have an optimiser each.

    Args:
      optimizers: {part: Optimizer}.
      grads: {part: {network: tree}}, of the parts that move; the others are left alone.
      opt_state: {part: state}; parts: {part: {network: tree}}.

    Returns:
      (parts, opt_state) after the update.
    """
    parts, opt_state = dict(parts), dict(opt_state)
    for name in grads:
        parts[name], opt_state[name] = optim.update(
            optimizers[name].transformation, grads[name], opt_state[name], parts[name]
        )
    return parts, opt_state


def learning_rates(optimizers, step):
    """{"learning_rate_<part>": float scalar} of optimisers as update_parts has them."""
    return {f"learning_rate_{name}": own.learning_rate(step) for name, own in optimizers.items()}


def one_part_each(params):
    """{network: tree} -> {network: {network: tree}}: every network a part, in which the paths of
    its parameters begin with its name.
    """
    return {name: {name: tree} for name, tree in params.items()}


def finish_networks(state, grads, batch_stats, shares, *, optimizers, axis_name):
    """The end of a step in which every network has an optimiser of its own.

    Args:
      optimizers: {network: Optimizer}. The others as `finish` takes them, grads {network: tree}.

    Returns:
      As `finish`, with a "grad_norm_<network>" and a "learning_rate_<network>" of each.
    """
    grads = total(grads, axis_name)
    parts, opt_state = update_parts(
        optimizers, one_part_each(grads), state.opt_state, one_part_each(state.params)
    )
    figures = {f"grad_norm_{name}": optax.global_norm(grads[name]) for name in optimizers}
    after = state.replace(
        step=state.step + 1,
        params={name: part[name] for name, part in parts.items()},
        batch_stats=batch_stats,
        opt_state=opt_state,
    )
    return after, total(shares, axis_name) | figures | learning_rates(optimizers, state.step)


def pixel_mask(mask, shape):
    """The mask of rows at every pixel: bool [N] -> bool of `shape`, (N, h, w)."""
    return jnp.broadcast_to(mask[:, None, None], shape)


def without_padding(labels, mask):
    """int32 [N, h, w] labels, 255 in the rows that the mask, bool [N], leaves out."""
    return jnp.where(mask[:, None, None], labels, IGNORED)


def not_before(tree, part):
    """`part` with images that are there no sooner than every leaf of `tree`: a pass over them does
    not begin before the gradients of the pass before are finished and its activations are gone.

    jax.lax.optimization_barrier says the same, but XLA's CPU compiler drops it before it orders a
    program: three passes of MIC would hold 3.4 GiB where they hold 1.4. So the images get a zero
    added that depends on an entry of each leaf, by a comparison that is never true and that the
    compiler does not see through.
    """
    entries = jnp.stack([leaf.ravel()[0].astype(jnp.float32) for leaf in jax.tree.leaves(tree)])
    zero = (entries.max() > jnp.inf).astype(part["image"].dtype)
    return part | {"image": part["image"] + zero}
