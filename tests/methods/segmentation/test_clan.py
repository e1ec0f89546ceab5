"""CLAN's options that its authors' iterations (test_seg_golden.py) do not have: the paper's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import labelled_source_and_target
from compare import assert_value
from tiny_segmenter import tiny_segmenter

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
from dajax.ops.labels import IGNORED
from dajax.ops.resize import resize_bilinear
from dajax.recipes import clan as clan_config

SIZE_HW, CLASSES = (32, 48), 3


def small(config):
    return tiny_segmenter(config, heads="twin", num_classes=CLASSES)


@pytest.fixture(scope="module")
def begun():
    """(config, model, state, batch, compiled step) of the paper's settings."""
    config = clan_config.get_config("scenes,settings=paper").clan
    config.target_hw, config.adversarial.width = SIZE_HW, 4
    model = small(config)
    batch = labelled_source_and_target(0, (2, *SIZE_HW, 3), CLASSES)
    batch["source"]["label"][0, :9] = IGNORED
    state = clan.init(jax.random.key(0), jnp.zeros((2, *SIZE_HW, 3)), config=config, model=model)
    step = jax.jit(
        lambda state, batch: clan.train_step(state, batch, None, config=config, model=model)
    )
    return config, model, state, batch, step


@pytest.fixture(scope="module")
def first_step(begun):
    """(config, model, state before, batch, metrics)."""
    config, model, state, batch, step = begun
    return config, model, state, batch, step(state, batch)[1]


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
    assert_value(metrics["segmentation"], -at_label[labels != IGNORED].mean(), 1e-5)  # float32


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
        assert_value(metrics[name], expected, 1e-4, err_msg=name)


def test_the_weights_of_the_two_heads_are_driven_apart(begun):
    """Where no pixel counts the weight loss alone moves the segmenter; the decay keeps angles."""
    _, _, state, batch, step = begun
    unlabelled = np.full_like(batch["source"]["label"], IGNORED)
    nothing = {
        "source": batch["source"] | {"label": unlabelled},
        "target": batch["target"] | {"mask": np.zeros_like(batch["target"]["mask"])},
    }
    cosines = []
    for _ in range(3):
        state, metrics = step(state, nothing)
        assert metrics["segmentation"] == 0 and metrics["adversarial"] == 0
        cosines.append(float(metrics["weight_cosine"]))
    assert cosines[0] > cosines[1] > cosines[2], cosines


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
