"""The learning-rate schedules of the papers: functions of the step alone."""

import jax.numpy as jnp

from dajax.settings import SettingError, check_unread, choice

# Word -> the keys that it needs beside `lr`.
POLY = ("power", "horizon_steps", "warmup_steps")
SCHEDULES = {
    "constant": (),
    "cosine": (),
    "exp": ("gamma", "every_steps"),
    "inv": ("alpha", "beta"),
    "poly": POLY,
    "poly_times_warmup": (*POLY, "warmup_ratio", "min_lr"),
    "poly_after_warmup": (*POLY, "warmup_ratio"),
}


def make_schedule(config, steps, multiplier=1.0):
    """Learning rate as a function of the 0-based global step, which is never reset.

    `inv`: lr / (1 + alpha i)^beta and `exp`: lr * 0.1^(i // 30) are CAN's (solver/utils.py);
    `poly`: lr (1 - i / steps)^power is DeepLab's; `cosine`: lr (1 + cos(pi i / steps)) / 2. `poly`
    may aim beyond the stage (`horizon_steps`; AdaptSegNet decays over 250,000 steps and stops at
    150,000) and warm up first: lr i / warmup_steps for i < warmup_steps, then the plain `poly`
    (CLAN).

    Two more warm up otherwise, with r = `warmup_ratio`. `poly_times_warmup` (mmcv 1.3.7; DAFormer)
    multiplies the rate that already decays by r + (1 - r) i / warmup_steps, and decays to `min_lr`
    instead of 0: that of mmcv's poly is the same for every group, and may lie above `lr`.
    `poly_after_warmup` (VFM-UDA) rises linearly from r lr at step 0 to lr at step warmup_steps - 1,
    and falls from there to where the plain `poly` is.

    Args:
      config: needs `lr`, `schedule` and the schedule's own keys (`alpha`, `beta`; `gamma`,
        `every_steps`; `power`, `horizon_steps`, 0 for the length of the stage, and `warmup_steps`,
        0 for none; `warmup_ratio`; `min_lr`).
      steps: length of the stage, read by the `poly` ones and `cosine` only; 0 where nobody knows it
        before the stage has ended.
      multiplier: of a group of parameters, on `lr`.

    Raises:
      UserError: unknown schedule, one whose keys are not there, a key that it does not read, or one
        that needs to know the length.
    """
    name = choice(config, "schedule", SCHEDULES)
    check_unread(config, "schedule", SCHEDULES, {"warmup_ratio": 0.0, "min_lr": 0.0})
    is_poly = name.startswith("poly")
    needs_length = name == "cosine" or (is_poly and not config.horizon_steps)
    if needs_length and not steps:
        raise SettingError(
            "schedule", name, "aims at the last step, which a stage that runs in loops has not"
        )

    if is_poly:
        return _poly(config, name, float(config.horizon_steps or steps), multiplier)

    def schedule(step):
        i = jnp.asarray(step).astype(jnp.float32)
        if name == "inv":
            rate = config.lr * (1.0 + config.alpha * i) ** (-config.beta)
        elif name == "exp":
            rate = config.lr * config.gamma ** jnp.floor(i / config.every_steps)
        elif name == "cosine":
            rate = config.lr * 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(i / steps, 1.0)))
        else:
            rate = jnp.full_like(i, config.lr)
        return multiplier * rate

    return schedule


def _poly(config, name, horizon, multiplier):
    """The schedules whose names begin with "poly", over `horizon` steps; see make_schedule."""
    warmup = config.warmup_steps

    def schedule(step):
        i = jnp.asarray(step).astype(jnp.float32)
        # 1 - i / horizon would cancel near the end
        share = (jnp.maximum(horizon - i, 0.0) / horizon) ** config.power
        if name == "poly":
            decayed = config.lr * share
            return multiplier * jnp.where(i < warmup, config.lr * i / max(warmup, 1), decayed)
        ratio = config.warmup_ratio
        if name == "poly_after_warmup":
            risen = ratio + (1.0 - ratio) * i / max(warmup - 1, 1)
            return multiplier * config.lr * jnp.where(i < warmup, risen, share)
        # Not 1 - (1 - i / warmup)(1 - ratio), as mmcv has it: float32 would lose a ratio of 1e-6.
        risen = jnp.where(i < warmup, ratio + (1.0 - ratio) * i / max(warmup, 1), 1.0)
        return risen * (share * (multiplier * config.lr - config.min_lr) + config.min_lr)

    return schedule
