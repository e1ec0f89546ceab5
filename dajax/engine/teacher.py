"""The teacher of a stage: a moving average of its networks, kept beside them in TrainState.extra.

The engine makes, updates and saves it for every method that trains. A method may read it in
train_step: state.extra[TEACHER] = {"params", "batch_stats"} by network. There it is the average
over the steps before this one, as in mean teacher and DAFormer. The engine replaces what a method
writes there, but for a method with MOVES_TEACHER = True: that moves its teacher itself, and leaves
to the engine to begin, save and predict with it.

Parameters are averaged as in these two (ops.moving_average). Their teachers get running statistics
from passes of their own in training mode. The engine makes no such passes, so it averages the
statistics like the parameters: timm's ModelEmaV2 and Unbiased Teacher average a whole state_dict.
A method that makes such passes is one that moves its teacher itself.
Copying the student's statistics (tllib's update_bn) would normalise the teacher's features with
statistics of other parameters.
"""

import jax
import jax.numpy as jnp

from dajax.errors import UserError
from dajax.ops.moving_average import moving_average, warmed_up
from dajax.settings import choice, part_of_config
from dajax.state import TEACHER

PREDICTORS = ("student", "teacher")


def check(name, stage_config, method):
    """Checks that the settings of a stage's teacher fit each other and the stage's method.

    Args:
      name: of the stage. stage_config: its `teacher.momentum`, 0 for no teacher, and its
        `predict_with`. method: a module of dajax.methods.

    Raises:
      UserError: the first mistake.
    """
    if "teacher" not in stage_config or "predict_with" not in stage_config:
        raise UserError(
            f"config.{name} lacks teacher.momentum or predict_with, which every stage has: add"
            " **NO_TEACHER of configs/base/common.py to it"
        )
    momentum = stage_config.teacher.momentum
    with part_of_config(f"config.{name}"):
        predictor = choice(stage_config, "predict_with", PREDICTORS)
    if momentum and not hasattr(method, "train_step"):
        raise UserError(
            f"config.{name}.teacher.momentum={momentum}: method {stage_config.method} trains"
            " nothing, so there is no teacher to keep; set it to 0"
        )
    if predictor == "teacher" and not momentum:
        raise UserError(
            f"config.{name}.predict_with='teacher': config.{name}.teacher.momentum={momentum} keeps"
            " none; set that above 0 (0.999), or predict_with to student"
        )


def begin(state, stage_config):
    """Adds a teacher, a copy of the networks, where the stage keeps one."""
    if not stage_config.teacher.momentum:
        return state
    return _with_teacher(state, jax.tree.map(jnp.array, _networks(state)))


def follow(before, after, stage_config, method):
    """Adds to the state after a train step the teacher, moved towards the new networks; what a
    method has moved itself stays.
    """
    if not stage_config.teacher.momentum or getattr(method, "MOVES_TEACHER", False):
        return after
    momentum = warmed_up(stage_config.teacher.momentum, after.step)
    return _with_teacher(after, moving_average(before.extra[TEACHER], _networks(after), momentum))


def keep(before, after, stage_config):
    """Adds to the state after a refresh the teacher of the state before, unchanged."""
    if not stage_config.teacher.momentum:
        return after
    return _with_teacher(after, before.extra[TEACHER])


def predicting(state, stage_config):
    """The networks that a stage is evaluated and predicted with, and hands on to the next stage.

    Args:
      state: TrainState, or the dict that a checkpoint holds of one.

    Returns:
      The same, with "params" and "batch_stats" of the teacher where `predict_with` says so.

    Raises:
      ValueError: `predict_with` is none of PREDICTORS.
      KeyError: the state holds no teacher.
    """
    if stage_config.predict_with not in PREDICTORS:
        raise ValueError(f"predict_with={stage_config.predict_with}")
    if stage_config.predict_with == "student":
        return state
    if isinstance(state, dict):
        return state | state["extra"][TEACHER]
    return state.replace(**state.extra[TEACHER])


def describe(stage_config):
    """The end of a stage's line at the head of a run; "" where the stage keeps no teacher."""
    if not stage_config.teacher.momentum:
        return ""
    return (
        f"; a teacher of momentum {stage_config.teacher.momentum:g}, figures are those of the"
        f" {stage_config.predict_with}"
    )


def _networks(state):
    return {"params": state.params, "batch_stats": state.batch_stats}


def _with_teacher(state, networks):
    return state.replace(extra={**state.extra, TEACHER: networks})
