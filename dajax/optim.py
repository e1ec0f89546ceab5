"""SGD as torch defines it, parameter groups by path, and the learning-rate schedules of the papers.

Stateless by design: a train step builds its optimiser from the config at trace time, which costs nothing at run time.
"""

import re

import jax
import jax.numpy as jnp
import optax

from dajax.errors import UserError

SCHEDULES = ("constant", "cosine", "exp", "inv", "poly")


def make_schedule(config, steps):
    """Learning rate as a function of the 0-based global step, which is never reset.

    `inv`: lr / (1 + alpha i)^beta and `exp`: lr * 0.1^(i // 30) are CAN's (solver/utils.py); `poly`: lr (1 - i / steps)^power is
    DeepLab's; `cosine`: lr (1 + cos(pi i / steps)) / 2.

    Args:
      config: needs `lr`, `schedule` and the schedule's own keys (`alpha`, `beta`; `gamma`, `every_steps`; `power`).
      steps: length of the stage, read by `poly` and `cosine` only.

    Raises:
      UserError: unknown schedule.
    """
    name = config.schedule
    if name not in SCHEDULES:
        raise UserError(f"unknown schedule '{name}'; known: {', '.join(SCHEDULES)}")

    def schedule(step):
        i = jnp.asarray(step).astype(jnp.float32)
        if name == "inv":
            return config.lr * (1.0 + config.alpha * i) ** (-config.beta)
        if name == "exp":
            return config.lr * config.gamma ** jnp.floor(i / config.every_steps)
        if name == "poly":
            return config.lr * jnp.maximum(1.0 - i / steps, 0.0) ** config.power
        if name == "cosine":
            return config.lr * 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(i / steps, 1.0)))
        return jnp.full_like(i, config.lr)

    return schedule


def sgd(schedule, *, momentum, weight_decay, nesterov=False):
    """torch.optim.SGD: g += weight_decay * p; buffer = momentum * buffer + g; p -= lr * buffer (no dampening).

    The decay enters BEFORE the momentum and is scaled by the learning rate, unlike optax.adamw's.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(decay=momentum, nesterov=nesterov),
        optax.scale_by_learning_rate(schedule),
    )


def _group_of(name, config, frozen):
    if any(re.search(pattern, name) for pattern in frozen):
        return "frozen"
    for pattern, _ in config.lr_multipliers:
        if re.search(pattern, name):
            return pattern
    return "base"


def make_optimizer(config, params, *, steps, frozen=()):
    """SGD with one learning rate per parameter group.

    Args:
      config: `lr`, `schedule` (+ its keys), `momentum`, `weight_decay`, `nesterov`, and `lr_multipliers`, a tuple of
        (regular expression on the path "network/module/.../kernel", multiplier); the first match wins, no match means 1.
      params: parameter tree, for its paths.
      steps: length of the stage, for schedules that need it.
      frozen: regular expressions; these parameters never change, and take no weight decay either (torch skips parameters whose
        gradient is None).

    Raises:
      UserError: a pattern that matches no parameter, since it would silently do nothing.
    """
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for pattern in [pattern for pattern, _ in config.lr_multipliers] + list(frozen):
        if not any(re.search(pattern, name) for name in names):
            raise UserError(f"optimizer: the pattern '{pattern}' matches no parameter; parameters look like {names[0]}, {names[-1]}")
    schedule = make_schedule(config, steps)

    def group(multiplier):
        return sgd(
            lambda step: multiplier * schedule(step), momentum=config.momentum, weight_decay=config.weight_decay, nesterov=config.nesterov
        )

    groups = {"base": group(1.0), "frozen": optax.set_to_zero()}
    groups.update({pattern: group(multiplier) for pattern, multiplier in config.lr_multipliers})
    labels = jax.tree_util.tree_map_with_path(
        lambda path, _: _group_of(jax.tree_util.keystr(path, simple=True, separator="/"), config, frozen), params
    )
    return optax.multi_transform(groups, labels)


def apply_gradients(optimizer, state, grads, batch_stats):
    """One update: the new TrainState and the global gradient norm (a cheap witness that nothing has gone non-finite)."""
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    new_state = state.replace(step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state)
    return new_state, optax.global_norm(grads)
