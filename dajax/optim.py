"""SGD, Adam and AdamW as torch defines them, and parameter groups by path.

Stateless by design: a train step builds its optimiser from the config at trace time, which costs
nothing at run time.
"""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dajax.learning_rate import make_schedule
from dajax.settings import SettingError, check_unread, choice

# Word -> the keys that it needs beside those of all, lr, weight_decay and lr_multipliers.
KINDS = {
    "sgd": ("momentum", "nesterov", "repeats"),
    "adam": ("betas",),
    "adamw": ("betas", "decay_multipliers", "layer_decay"),
}
# Keys of the others' that a recipe may hold where they do nothing, and the value that does nothing.
OF_ADAMW = {"decay_multipliers": (), "layer_decay": 1.0}
UNREAD_BY_ADAMW = {"momentum": 0.0, "nesterov": False, "repeats": ()}
BLOCK = re.compile(r"(.*/)blocks_(\d+)/")  # of a ViT: the path of the encoder, the block's number


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


def adamw(schedule, *, betas, weight_decay, multipliers):
    """torch.optim.AdamW: p -= lr_g wd_g p, then Adam's step; epsilon 1e-8, torch's default.

    Args:
      schedule: multiplier -> f(step) -> the rate of a group, lr_g.
      betas: of the two moving averages.
      weight_decay: before the multiplier of a group.
      multipliers: path -> (on the rate, on the decay), floats.
    """
    directions = optax.scale_by_adam(b1=betas[0], b2=betas[1], eps=1e-8)

    def init(params):
        return directions.init(params)

    def update(grads, state, params):
        step = state.count  # of the updates done so far
        # optax takes a float to the power of an integer count
        with jax.numpy_dtype_promotion("standard"):
            steps, state = directions.update(grads, state, params)
        rates = {}  # one schedule for all parameters of a group

        def moved(path, towards, param):
            rate, decay = multipliers(path_name(path))
            if rate not in rates:
                rates[rate] = schedule(rate)(step)
            return -rates[rate] * (towards + decay * weight_decay * param)

        return jax.tree_util.tree_map_with_path(moved, steps, params), state

    return optax.GradientTransformation(init, update)


def path_name(path):
    """A path of jax.tree_util as the patterns see it: "network/module/.../kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def layer_multiplier(names, layer_decay):
    """name -> factor on the rate, smaller the deeper a parameter lies in a ViT (VFM-UDA,
    uda_vit_generic.py, configure_optimizers).

    With L blocks, block j has layer_decay^(L - 1 - j); what else is in the encoder, tokens,
    positions, patches and the last norm, has layer_decay^L; what is outside of it, 1.

    Args:
      names: of all parameters, as `path_name` gives them; a ViT's are ".../blocks_<j>/...".
      layer_decay: 1 for none.

    Raises:
      UserError: no parameter is in a block.
    """
    if layer_decay == 1.0:
        return lambda name: 1.0
    blocks = [found for found in map(BLOCK.match, names) if found]
    if not blocks:
        problem = "there is no ViT whose blocks it could tell apart: set it to 1.0"
        raise SettingError("layer_decay", layer_decay, problem)
    encoder, depth = blocks[0][1], 1 + max(int(found[2]) for found in blocks)

    def multiplier(name):
        found = BLOCK.match(name)
        below_last = depth - 1 - int(found[2]) if found else depth
        return layer_decay**below_last if name.startswith(encoder) else 1.0

    return multiplier


def _first_match(pairs, name, default):
    return next((value for pattern, value in pairs if re.search(pattern, name)), default)


def make_optimizer(config, params, *, steps, frozen=()):
    """SGD, Adam or AdamW with one learning rate per parameter group.

    Args:
      config: `kind`, one of KINDS; `lr`, `schedule` (+ its keys), `weight_decay`;
        `lr_multipliers`, a tuple of (regular expression on the path
        "network/module/.../kernel", multiplier), where the first match wins and no match means 1.
        For "sgd" `momentum`, `nesterov`, and `repeats`, a tuple of (regular expression, number),
        see `repeated_sgd`; for "adam" and "adamw" `betas`; for "adamw" `decay_multipliers`, like
        `lr_multipliers` but on `weight_decay`, and `layer_decay`, see `layer_multiplier`.
      params: parameter tree, for its paths.
      steps: length of the stage, for schedules that need it.
      frozen: regular expressions; these parameters never change, and take no weight decay either
        (torch skips parameters whose gradient is None).

    Raises:
      UserError: an unknown kind or schedule, one whose keys are not there, or a key that it does
        not read; a pattern that matches no parameter, since it would silently do nothing.
    """
    kind = choice(config, "kind", KINDS)
    check_unread(config, "kind", KINDS, UNREAD_BY_ADAMW if kind == "adamw" else OF_ADAMW)
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    keys = (
        "lr_multipliers",
        *(key for key in ("decay_multipliers", "repeats") if key in KINDS[kind]),
    )
    patterns = {key: [pattern for pattern, _ in config[key]] for key in keys}
    _check_patterns(patterns | {"frozen": frozen}, names)
    if kind == "adamw":
        groups, group_of = {"trained": _adamw(config, steps, names)}, lambda name: "trained"
    else:
        groups, group_of = _groups(config, steps)

    def label(path, _):
        name = path_name(path)
        if any(re.search(pattern, name) for pattern in frozen):
            return "frozen"
        return group_of(name)

    labels = jax.tree_util.tree_map_with_path(label, params)
    return optax.multi_transform({"frozen": optax.set_to_zero(), **groups}, labels)


def _check_patterns(patterns, names):
    """Raises UserError where a pattern of {key: patterns} matches no parameter."""
    for key, pattern in ((key, pattern) for key, found in patterns.items() for pattern in found):
        if not any(re.search(pattern, name) for name in names):
            problem = (
                f"matches no parameter; parameters look like {names[0]}, {names[-1]}; correct the"
                " pattern"
            )
            raise SettingError(key, pattern, problem)


def _adamw(config, steps, names):
    """AdamW over all groups: names of all parameters."""
    make_schedule(config, steps)  # its mistakes are found before the first update
    of_layer = layer_multiplier(names, config.layer_decay)

    def multipliers(name):
        rate = _first_match(config.lr_multipliers, name, 1.0) * of_layer(name)
        return rate, _first_match(config.decay_multipliers, name, 1.0)

    return adamw(
        lambda multiplier: make_schedule(config, steps, multiplier),
        betas=config.betas,
        weight_decay=config.weight_decay,
        multipliers=multipliers,
    )


def _groups(config, steps):
    """SGD or Adam, one for each group: ({group: optimiser}, name of a parameter -> its group)."""
    repeats = tuple(config.repeats) if config.kind == "sgd" else ()

    def called(multiplier, count):  # checkpoints have the state of a group under this name
        return f"x{multiplier:g}, stepped {count}"

    def group_of(name):
        return called(
            _first_match(config.lr_multipliers, name, 1.0), _first_match(repeats, name, 1)
        )

    multipliers = {1.0, *(value for _, value in config.lr_multipliers)}
    counts = {1, *(count for _, count in repeats)}
    groups = {
        called(multiplier, count): _sgd_or_adam(config, steps, multiplier, count)
        for multiplier in multipliers
        for count in counts
    }
    return groups, group_of


def _sgd_or_adam(config, steps, multiplier, count):
    """The optimiser of one group: its rate times `multiplier`, each of its tensors stepped `count`
    times.
    """
    schedule = make_schedule(config, steps, multiplier)
    if config.kind == "adam":
        return adam(schedule, betas=config.betas, weight_decay=config.weight_decay)
    settings = dict(momentum=config.momentum, weight_decay=config.weight_decay)
    if count == 1:
        return sgd(schedule, nesterov=config.nesterov, **settings)
    return repeated_sgd(schedule, count, **settings)


def update(optimizer, grads, opt_state, params):
    """(params, opt_state) after one step of an optimiser."""
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state
