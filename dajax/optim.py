"""SGD and Adam as torch defines them, parameter groups by path, and the learning-rate schedules of
the papers.

Stateless by design: a train step builds its optimiser from the config at trace time, which costs
nothing at run time.
"""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dajax.settings import SettingError, choice

# Word -> the keys that it needs beside those of all, lr, weight_decay and lr_multipliers.
KINDS = {"sgd": ("momentum", "nesterov", "repeats"), "adam": ("betas",)}
SCHEDULES = {
    "constant": (),
    "cosine": (),
    "exp": ("gamma", "every_steps"),
    "inv": ("alpha", "beta"),
    "poly": ("power", "horizon_steps", "warmup_steps"),
}


def make_schedule(config, steps):
    """Learning rate as a function of the 0-based global step, which is never reset.

    `inv`: lr / (1 + alpha i)^beta and `exp`: lr * 0.1^(i // 30) are CAN's (solver/utils.py);
    `poly`: lr (1 - i / steps)^power is DeepLab's; `cosine`: lr (1 + cos(pi i / steps)) / 2. `poly`
    may aim beyond the stage (`horizon_steps`; AdaptSegNet decays over 250,000 steps and stops at
    150,000) and warm up first: lr i / warmup_steps for i < warmup_steps, then the plain `poly`
    (CLAN).

    Args:
      config: needs `lr`, `schedule` and the schedule's own keys (`alpha`, `beta`; `gamma`,
        `every_steps`; `power`, `horizon_steps`, 0 for the length of the stage, and `warmup_steps`,
        0 for none).
      steps: length of the stage, read by `poly` and `cosine` only; 0 where nobody knows it before
        the stage has ended.

    Raises:
      UserError: unknown schedule, one whose keys are not there, or one that needs to know the
        length.
    """
    name = choice(config, "schedule", SCHEDULES)
    needs_length = name == "cosine" or (name == "poly" and not config.horizon_steps)
    if needs_length and not steps:
        raise SettingError(
            "schedule", name, "aims at the last step, which a stage that runs in loops has not"
        )

    def schedule(step):
        i = jnp.asarray(step).astype(jnp.float32)
        if name == "inv":
            return config.lr * (1.0 + config.alpha * i) ** (-config.beta)
        if name == "exp":
            return config.lr * config.gamma ** jnp.floor(i / config.every_steps)
        if name == "poly":
            horizon = float(config.horizon_steps or steps)
            # 1 - i / horizon would cancel near the end
            decayed = config.lr * (jnp.maximum(horizon - i, 0.0) / horizon) ** config.power
            return jnp.where(
                i < config.warmup_steps, config.lr * i / max(config.warmup_steps, 1), decayed
            )
        if name == "cosine":
            return config.lr * 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(i / steps, 1.0)))
        return jnp.full_like(i, config.lr)

    return schedule


def sgd(schedule, *, momentum, weight_decay, nesterov=False):
    """torch.optim.SGD: g += weight_decay * p; buffer = momentum * buffer + g; p -= lr * buffer (no
    dampening).

    The decay enters BEFORE the momentum and is scaled by the learning rate, unlike optax.adamw's.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(decay=momentum, nesterov=nesterov),
        optax.scale_by_learning_rate(schedule),
    )


class RepeatedState(NamedTuple):
    """Of `repeated_sgd`: the momentum buffers, and the number of updates done."""

    trace: Any
    count: jax.Array


def repeated_sgd(schedule, repeats, *, momentum, weight_decay):
    """torch.optim.SGD on a parameter list that holds every tensor `repeats` times, as DeepLab's
    get_1x_lr_params_NOscale makes it.

    torch then steps each occurrence in turn with the same gradient: `repeats` times { buffer =
    momentum * buffer + g + weight_decay * p; p -= lr * buffer }. In the very first update no
    occurrence finds a buffer yet and each begins one, so momentum is 0 there (torch 2;
    clan_trainstep_dup of tests/golden/README.md).
    """

    def init(params):
        return RepeatedState(
            trace=jax.tree.map(jnp.zeros_like, params), count=jnp.zeros((), jnp.int32)
        )

    def update(grads, state, params):
        lr, keeps = schedule(state.count), jnp.where(state.count == 0, 0.0, momentum)
        moved, trace = params, state.trace
        for _ in range(repeats):
            trace = jax.tree.map(
                lambda buffer, grad, param: keeps * buffer + grad + weight_decay * param,
                trace,
                grads,
                moved,
            )
            moved = jax.tree.map(lambda param, buffer: param - lr * buffer, moved, trace)
        return jax.tree.map(jnp.subtract, moved, params), RepeatedState(
            trace=trace, count=state.count + 1
        )

    return optax.GradientTransformation(init, update)


def adam(schedule, *, betas, weight_decay):
    """torch.optim.Adam: weight decay is part of the gradient; epsilon 1e-8, torch's default,
    outside of the square root.
    """
    chain = optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_adam(b1=betas[0], b2=betas[1], eps=1e-8),
        optax.scale_by_learning_rate(schedule),
    )

    def update(grads, state, params):
        # optax takes a float to the power of an integer count
        with jax.numpy_dtype_promotion("standard"):
            return chain.update(grads, state, params)

    return optax.GradientTransformation(chain.init, update)


def _first_match(pairs, name, default):
    return next((value for pattern, value in pairs if re.search(pattern, name)), default)


def make_optimizer(config, params, *, steps, frozen=()):
    """SGD or Adam with one learning rate per parameter group.

    Args:
      config: `kind`, "sgd" or "adam"; `lr`, `schedule` (+ its keys), `weight_decay`; for "sgd"
        `momentum` and `nesterov`, for "adam" `betas`; `lr_multipliers`, a tuple of (regular
        expression on the path "network/module/.../kernel", multiplier), where the first match wins
        and no match means 1; for "sgd" `repeats`, a tuple of (regular expression, number), see
        `repeated_sgd`.
      params: parameter tree, for its paths.
      steps: length of the stage, for schedules that need it.
      frozen: regular expressions; these parameters never change, and take no weight decay either
        (torch skips parameters whose gradient is None).

    Raises:
      UserError: an unknown kind or schedule, or one whose keys are not there; a pattern that
        matches no parameter, since it would silently do nothing.
    """
    choice(config, "kind", KINDS)
    repeats = tuple(config.repeats) if config.kind == "sgd" else ()
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    ]
    patterns = {
        "lr_multipliers": [pattern for pattern, _ in config.lr_multipliers],
        "repeats": [pattern for pattern, _ in repeats],
        "frozen": frozen,
    }
    for key, pattern in ((key, pattern) for key, found in patterns.items() for pattern in found):
        if not any(re.search(pattern, name) for name in names):
            problem = (
                f"matches no parameter; parameters look like {names[0]}, {names[-1]}; correct the"
                " pattern"
            )
            raise SettingError(key, pattern, problem)
    schedule = make_schedule(config, steps)

    def label(path, _):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if any(re.search(pattern, name) for pattern in frozen):
            return "frozen"
        return (
            f"x{_first_match(config.lr_multipliers, name, 1.0):g}, stepped"
            f" {_first_match(repeats, name, 1)}"
        )

    def group(multiplier, count):
        def scaled(step):
            return multiplier * schedule(step)

        if config.kind == "adam":
            return adam(scaled, betas=config.betas, weight_decay=config.weight_decay)
        if count == 1:
            return sgd(
                scaled,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
                nesterov=config.nesterov,
            )
        return repeated_sgd(
            scaled, count, momentum=config.momentum, weight_decay=config.weight_decay
        )

    multipliers = {1.0, *(value for _, value in config.lr_multipliers)}
    counts = {1, *(count for _, count in repeats)}
    groups = {
        f"x{multiplier:g}, stepped {count}": group(multiplier, count)
        for multiplier in multipliers
        for count in counts
    }
    labels = jax.tree_util.tree_map_with_path(label, params)
    return optax.multi_transform({"frozen": optax.set_to_zero(), **groups}, labels)


def update(optimizer, grads, opt_state, params):
    """(params, opt_state) after one step of an optimiser."""
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state
