"""Workdirs of networks that compile at once, with random weights and without any training."""

import functools
import json

import in_process
import jax
import numpy as np

from dajax import open_workdir
from dajax.engine import config_check
from dajax.engine.checkpoint import Checkpoints
from dajax.models.apply import init_network
from dajax.recipes import can, clan
from dajax.state import TrainState

STEP = 3
# A size of picture for each task, and of the network's input.
PICTURE_HW = {"classification": (13, 18), "segmentation": (20, 25)}


def shallow_networks(monkeypatch):
    """dajax.load builds one residual block of four channels."""
    for name in ("build_model", "build_segmenter"):
        monkeypatch.setattr(open_workdir, name, in_process.shallow(getattr(open_workdir, name)))


def make(workdir, task):
    """A workdir with one checkpoint of the recipe's last but one stage, whose two sets of
    normalisation differ; call `shallow_networks` first.

    Returns:
      What dajax.load gives.
    """
    if task == "classification":
        config = can.get_config("folder,root=/photos,size=12,source=a,target=b")
        stage, names, channels = "can", ["bag", "cup", "pen"], 3
    else:
        config = clan.get_config()
        stage, names, channels = "clan", [f"class{k}" for k in range(4)], 3
        config.data.transforms.evaluation.size = (16, 24)
        config.model.aspp_rates = (1,)
        config.model.aspp_branches = 1
    config[stage].teacher.momentum, config[stage].predict_with = 0.0, "student"
    config_check.check_config(config, workdir)
    shape = [*(12, 12), channels]
    described = {"class_names": names, "image_shape": shape}
    (workdir / "dataset.json").write_text(json.dumps(described))
    _, model, transform = open_workdir._built(config, stage, len(names), workdir)
    images = np.zeros((2, *transform.size_hw, channels), np.float32)
    shapes = jax.eval_shape(functools.partial(init_network, model=model), jax.random.key(0), images)
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        is_positive = path[-1].key in ("scale", "var")
        values = (
            rng.uniform(0.8, 1.2, leaf.shape) if is_positive else rng.normal(0, 0.3, leaf.shape)
        )
        return values.astype(np.float32)

    params, batch_stats = jax.tree_util.tree_map_with_path(fill, shapes)
    state = TrainState.create(params=params, batch_stats=batch_stats, opt_state={})
    with Checkpoints(workdir / stage / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(state.replace(step=np.int32(STEP)), {})
    return open_workdir.open_workdir(workdir)


def pictures(task, count, hw=None):
    """uint8 [count, H, W, 3], a colour and noise, of PICTURE_HW where hw is None."""
    height, width = hw or PICTURE_HW[task]
    rng = np.random.default_rng(1)
    colors = rng.integers(0, 156, (count, 1, 1, 3), dtype=np.uint8)
    return colors + rng.integers(0, 100, (count, height, width, 3), dtype=np.uint8)
