"""A segmenter that is a table of logits, and one of features, so that a train step's gradient is
theirs.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dajax.models.aspp import SegOutput
from dajax.recipes.base import common as base

RATE = 1024.0  # of plain SGD: a float32 difference of parameters holds the gradient to 1e-6


class LogitTable(nn.Module):
    """Logits [N, H, W, K] of image i are row i of a parameter, and so are its features where
    `width` is not 0; see `images_of`.
    """

    network: ClassVar[str] = "segmenter"
    heads: ClassVar[str] = "single"
    align_corners: ClassVar[bool] = True
    detail_hw: ClassVar[tuple] = ()
    shape: tuple = (1, 1, 1, 1)
    width: int = 0

    @property
    def num_classes(self):
        return self.shape[-1]

    def frozen_parameters(self):
        return ()

    @nn.compact
    def __call__(self, images, mode):
        table = self.param("table", nn.initializers.zeros, self.shape)
        rows, features = images[:, 0, 0, 0].astype(jnp.int32), images
        if self.width:
            shape = (*self.shape[:3], self.width)
            features = self.param("features", nn.initializers.zeros, shape)[rows]
        return SegOutput(features, table[rows], None)


def images_of(rows, size_hw):
    """Images float32 [N, H, W, 3] whose pixels are the number of their row."""
    values = np.asarray(rows, np.float32).reshape(-1, 1, 1, 1)
    return np.broadcast_to(values, (len(values), *size_hw, 3)).copy()


def plain_sgd():
    """config.optimizer of a step of RATE times the gradient."""
    return base.sgd(lr=RATE, schedule="constant", momentum=0.0, weight_decay=0.0)


def gradient(method, logits, batch, config):
    """(gradient in the logits [N, H, W, K], metrics) of one step from a table of them."""
    tables, metrics = gradients(method, {"table": logits}, batch, config)
    return tables["segmenter"]["table"], metrics


def gradients(method, tables, batch, config, change=lambda state: state, **networks):
    """({network: its gradient}, metrics) of one step.

    Args:
      tables: {"table": logits [N, H, W, K]} and perhaps "features" [N, H, W, D].
      change: of the state before the step, what is not a parameter.
      **networks: the parameters of others, each with an optimiser as `plain_sgd`.
    """
    shape = tuple(tables["table"].shape)
    width = tables["features"].shape[-1] if "features" in tables else 0
    model = LogitTable(shape, width)
    images = jnp.zeros((1, *shape[1:3], 3))
    state = method.init(jax.random.key(0), images, config=config, model=model)
    params = {"segmenter": {name: jnp.asarray(table) for name, table in tables.items()}}
    state = change(state.replace(params=params | networks))

    @jax.jit
    def step(state, batch):
        return method.train_step(state, batch, jax.random.key(0), config=config, model=model)

    after, metrics = step(state, batch)
    moved = jax.tree.map(lambda new, old: (old - new) / RATE, after.params, state.params)
    return moved, metrics
