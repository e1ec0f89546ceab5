"""The exponential moving average of a network: the teacher of mean teacher (Tarvainen and Valpola
2017) and of the self-training that followed it (DACS, DAFormer).
"""

import jax
import jax.numpy as jnp

from dajax.typing import Array, Float, Int, PyTree


def warmed_up(momentum: float, step: Int[Array, ""] | int) -> Float[Array, ""]:
    """The momentum of one update, min(1 - 1 / (t + 1), momentum).

    Until the second argument is the smaller one, the average is the plain mean of the initial
    values and of all values since. Source: `update_ema_variables` in pytorch/main.py of
    CuriousAI/mean-teacher; DACS and DAFormer (`_update_ema` in mmseg/models/uda/dacs.py) have the
    same.

    Args:
      momentum: float in [0, 1), alpha of the papers.
      step: int32 scalar t, the number of updates of the network so far, this one included.

    Returns:
      float32 scalar.
    """
    return jnp.minimum(1.0 - 1.0 / (jnp.asarray(step, jnp.float32) + 1.0), jnp.float32(momentum))


def moving_average(average: PyTree, values: PyTree, momentum: Float[Array, ""] | float) -> PyTree:
    """momentum * average + (1 - momentum) * values, leaf by leaf.

    Written as average + (1 - momentum) * (values - average), so that a leaf that never moves (a
    frozen layer) keeps its bits.

    Args:
      average: tree of arrays, the average so far.
      values: tree of arrays of the same structure, shapes and dtypes.
      momentum: float scalar in [0, 1).

    Returns:
      The tree of new averages. Leaves that are no floating-point numbers (counters) are those of
        `values`: a mean of them means nothing.
    """

    def leaf(old, new):
        if not jnp.issubdtype(new.dtype, jnp.floating):
            return new
        return old + (1.0 - jnp.asarray(momentum, new.dtype)) * (new - old)

    return jax.tree.map(leaf, average, values)
