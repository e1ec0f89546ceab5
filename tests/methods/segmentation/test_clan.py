"""CLAN's options that its authors' iterations (test_seg_golden.py) do not have: the paper's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from dajax.errors import UserError
from dajax.losses.adversarial import (
    SOURCE_LABEL,
    TARGET_LABEL,
    discrepancy_map,
    discriminator_map,
)
from dajax.methods.segmentation import _segmenter as segmenter
from dajax.methods.segmentation import clan
from dajax.models.apply import discriminate
from dajax.models.build import build_segmenter
from dajax.ops.labels import IGNORED
from dajax.ops.resize import resize_bilinear
from dajax.recipes import clan as clan_config
from dajax.recipes.base import segmentation as seg_base

SIZE_HW, CLASSES = (32, 48), 3


def small(config):
    network = ConfigDict(
        seg_base.small_network("twin")
        | {
            "widths": (4, 4, 8, 8),
            "aspp_branches": 1,
            "aspp_rates": (1,),
        }
    )
    model = build_segmenter(network, config, num_classes=CLASSES)
    return model.clone(backbone=model.backbone.clone(stage_sizes=(1, 1, 1, 1)))


@pytest.fixture(scope="module")
def first_step():
    """(config, model, state before, batch, metrics) of the paper's settings."""
    config = clan_config.get_config("scenes,settings=paper").clan
    config.target_hw, config.adversarial.width = SIZE_HW, 4
    model, rng = small(config), np.random.default_rng(0)
    images = rng.normal(size=(2, 2, *SIZE_HW, 3)).astype(np.float32)
    labels = rng.integers(0, CLASSES, (2, *SIZE_HW)).astype(np.int32)
    labels[0, :9] = IGNORED
    mask = np.ones(2, bool)
    batch = {
        "source": {"image": images[0], "label": labels, "mask": mask},
        "target": {"image": images[1], "mask": mask},
    }
    state = clan.init(jax.random.key(0), jnp.zeros((2, *SIZE_HW, 3)), config=config, model=model)
    _, metrics = jax.jit(
        lambda state, batch: clan.train_step(state, batch, None, config=config, model=model)
    )(state, batch)
    return config, model, state, batch, metrics


@pytest.fixture(scope="module")
def logits(first_step):
    """{domain: (layer6, layer5)} at the size of the prediction, source first, as the step passes
    them.
    """
    config, model, state, batch, _ = first_step

    @jax.jit
    def both(state, batch):
        found, stats = {}, state.batch_stats
        for domain in ("source", "target"):
            seen, stats = segmenter.see(
                state.params,
                stats,
                batch[domain],
                SIZE_HW,
                config=config,
                model=model,
                axis_name=None,
            )
            found[domain] = seen.logits, seen.aux_logits
        return found

    return both(state, batch)


def test_the_papers_loss_is_the_cross_entropy_of_the_summed_heads(first_step, logits):
    _, _, _, batch, metrics = first_step
    labels = batch["source"]["label"]
    summed = np.asarray(logits["source"][0] + logits["source"][1], np.float64)
    log_probabilities = summed - np.log(np.exp(summed).sum(-1, keepdims=True))
    at_label = np.take_along_axis(
        log_probabilities, np.where(labels == IGNORED, 0, labels)[..., None], -1
    )[..., 0]
    # float32
    np.testing.assert_allclose(
        metrics["segmentation"], -at_label[labels != IGNORED].mean(), rtol=1e-5
    )


def test_without_a_warm_up_the_adversary_weighs_from_the_first_step(first_step, logits):
    config, _, state, _, metrics = first_step
    assert config.warmup_steps == 0
    layer6, layer5 = logits["target"]
    judged = discriminate(
        state.params["discriminator"],
        jax.nn.softmax(layer5 + layer6),
        width=config.adversarial.width,
    )
    judged = resize_bilinear(judged[..., None], SIZE_HW)[..., 0]
    weights = config.adversarial.epsilon + config.adversarial.local_weight * discrepancy_map(
        layer5, layer6
    )
    assert np.abs(weights - 1).max() > 0.1, "plain weights would show"
    for name, label in (("adversarial", SOURCE_LABEL), ("discriminator_target", TARGET_LABEL)):
        expected = (weights * discriminator_map(judged, label, config.adversarial.kind)).mean()
        # float32, another order of operations
        np.testing.assert_allclose(metrics[name], expected, rtol=1e-4, err_msg=name)


def test_an_unknown_place_of_the_loss_is_refused():
    config = clan_config.get_config("scenes").clan
    config.loss.on = "sum"
    with pytest.raises(UserError, match="loss.on='sum': unknown; known: heads, ensemble"):
        clan.init(
            jax.random.key(0),
            jnp.zeros((1, *SIZE_HW, 3)),
            config=config,
            model=small(config),
        )
