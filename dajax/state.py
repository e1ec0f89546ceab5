"""TrainState: everything that changes while training, and nothing else. A checkpoint is this and
the config.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from dajax.errors import UserError

# Key of TrainState.extra: the moving average of a stage's networks, where it keeps one.
TEACHER = "teacher"


@flax.struct.dataclass
class TrainState:
    """Arrays only; no device axis, so that a checkpoint opens on any number of devices.

    Attributes:
      step: int32 scalar, the number of updates done.
      params: {network name: parameter tree}, float32.
      batch_stats: {network name: running statistics of its normalisation layers}, float32.
      opt_state: optimiser state.
      extra: {name: array} of whatever else a method carries from step to step (pseudo-labels,
        prototypes, loop counters), and under TEACHER {"params", "batch_stats"} of the stage's
        teacher, where it keeps one.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    extra: Any

    @classmethod
    def create(cls, *, params, batch_stats, opt_state, extra=None):
        """A state at step 0."""
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            extra=extra or {},
        )


def to_host(tree):
    """A copy in numpy. The copy is real: on CPU a plain `np.asarray` may be a view of a buffer that
    the next step donates.
    """
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)


def check_fits(template, saved, *, what):
    """Checks that `adopt` can pour `saved` into `template`.

    Args:
      template: tree of arrays or of `jax.ShapeDtypeStruct`.
      saved: the same, of the same structure.
      what: said in the error, e.g. "params of stage source_only".

    Raises:
      UserError: an entry is missing, left over, or of another shape.
    """
    wanted, found = _by_name(template), _by_name(saved)
    if wanted.keys() != found.keys():
        lacking, spare = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        raise UserError(
            f"{what}: does not fit this model; missing {lacking[:3]}, unexpected {spare[:3]}: the"
            " two models must be the same"
        )
    for name, leaf in wanted.items():
        shape = np.shape(found[name])
        is_spread = (
            len(shape) == np.ndim(leaf) and shape[:1] == (1,) and shape[1:] == np.shape(leaf)[1:]
        )
        if shape != np.shape(leaf) and not is_spread:
            raise UserError(f"{what}: {name} has shape {shape}, this model needs {np.shape(leaf)}")


def _by_name(tree):
    """{"backbone/conv/kernel": leaf}."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def adopt(template, saved, *, what):
    """`saved` poured into the tree `template`; leaves of shape [1, ...] spread over a first axis of
    several domains.

    The spread is how a network trained with one set of normalisation statistics becomes one with a
    set per domain: "all copies start from the same statistics" (CAN,
    model/domain_specific_module.py).

    Args:
      template: tree of arrays with the shapes wanted.
      saved: tree of arrays of the same structure.
      what: said in the error, e.g. "params of stage source_only".

    Raises:
      UserError: an entry is missing, left over, or of another shape.
    """
    check_fits(template, saved, what=what)
    found = _by_name(saved)

    def fit(path, leaf):
        value = np.asarray(found[jax.tree_util.keystr(path, simple=True, separator="/")])
        return jnp.asarray(np.broadcast_to(value, np.shape(leaf)))

    return jax.tree_util.tree_map_with_path(fit, template)
