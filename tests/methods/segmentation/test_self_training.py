"""Self-training with and without the source, on a network of one linear layer."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dajax.engine import config_ranges, old_config
from dajax.errors import UserError
from dajax.methods.segmentation import self_training, source_only
from dajax.models.aspp import SegOutput
from dajax.recipes import spcl as spcl_config
from dajax.recipes.base import common as base

CLASSES, SIZE_HW = 3, (4, 6)


class Linear(nn.Module):
    """Logits linear in the colours, at half the size of the image."""

    network: ClassVar[str] = "segmenter"
    heads: ClassVar[str] = "single"
    align_corners: ClassVar[bool] = True
    num_classes: int = CLASSES

    def frozen_parameters(self):
        return ()

    @nn.compact
    def __call__(self, images, mode):
        features = images[:, ::2, ::2]
        return SegOutput(features, nn.Dense(self.num_classes, name="layer5")(features), None)


def stage(**changes):
    """The recipe's stage with plain SGD, so that a step is minus its gradient."""
    config = spcl_config.get_config().self_training
    config.optimizer = base.sgd(lr=1.0, schedule="constant", momentum=0.0, weight_decay=0.0)
    config.update(changes)
    return config


def make_batch(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, (2, *SIZE_HW)).astype(np.int32)
    labels[0, :1] = 255
    images = rng.normal(size=(2, *SIZE_HW, 3)).astype(np.float32)
    return {"image": images, "label": labels, "mask": np.ones(2, bool)}


BATCH = {"source": make_batch(0), "target": make_batch(1)}


def step(config, batch=BATCH, method=self_training):
    """(how far each parameter moves, figures)."""
    images, settings = jnp.zeros((2, *SIZE_HW, 3)), dict(config=config, model=Linear())

    @jax.jit
    def run(batch):
        state = method.init(jax.random.key(0), images, **settings)
        after, metrics = method.train_step(state, batch, None, **settings)
        return jax.tree.map(jnp.subtract, after.params, state.params), metrics

    moves, metrics = run(batch)
    return moves["segmenter"]["layer5"], metrics


def test_with_a_source_weight_both_domains_train():
    """A step is the target's alone plus the weight times that of source only. Without a weight, as
    released, no batch of the source is asked for.
    """
    target, of_target = step(stage(), {"target": BATCH["target"]})
    plain = dict(lovasz_weight=0.0, accumulate=1, half_pixel=False)
    source, of_source = step(stage(**plain), {"labelled": BATCH["source"]}, source_only)
    both, metrics = step(stage(source_weight=0.5))
    assert "segmentation_target" not in of_target and of_target["learning_rate"] == 1.0
    for name in ("kernel", "bias"):
        assert np.abs(source[name]).max() > 1e-2
        # float32: the difference of parameters of about 1
        np.testing.assert_allclose(both[name], target[name] + 0.5 * source[name], atol=1e-6)
    np.testing.assert_allclose(metrics["segmentation"], of_source["loss"], rtol=1e-6)
    np.testing.assert_allclose(metrics["segmentation_target"], of_target["loss"], rtol=1e-6)
    np.testing.assert_allclose(
        metrics["loss"], of_target["loss"] + 0.5 * of_source["loss"], rtol=1e-6
    )


@pytest.mark.parametrize("weight, parts", [(0.0, {"target"}), (0.5, {"source", "target"})])
def test_the_batch_holds_the_source_where_it_has_a_weight(weight, parts):
    class Feed:
        def with_pseudo_labels(self, size, labels_from, transform):
            return size, labels_from, transform

        def shuffled_with_labels(self, domain, size):
            return domain, size

    config = stage(source_weight=weight)
    found = self_training.plan(None, data=Feed(), config=config)
    assert found.keys() == parts
    assert found["target"] == (config.batch_size, "spcl_labels", "self_training")
    assert found.get("source", ("source", config.batch_size)) == ("source", config.batch_size)


def test_a_workdir_from_before_the_key_had_no_source_and_a_negative_weight_is_refused():
    old = {"task": "segmentation", "model": {}, "last": {"method": "self_training"}}
    read = old_config.with_added_keys(old)["last"]
    assert read["source_weight"] == read["source_share"] == read["kld_weight"] == 0.0
    assert read["rare_crops"] == {"share": 0.001, "probability": 0.0}
    with pytest.raises(UserError, match="config.self_training.source_weight=-1.0: expected at"):
        config_ranges.check({"self_training.source_weight": -1.0})
