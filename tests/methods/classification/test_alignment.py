"""What the baselines promise beyond test_every_method.py, on a toy network."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import labelled_source_and_target
from compare import assert_trees_equal
from ml_collections import ConfigDict
from toy_classifier import TwoHeads

from dajax.engine.init_from import with_networks
from dajax.errors import UserError
from dajax.methods import METHODS
from dajax.recipes.compare_cls import BASELINES

CLASSES, WIDTH, ROWS = 4, 10, 8


MODEL = TwoHeads(CLASSES, (8, 6), stops=False)


def stage(method, argument="digits", **changes):
    config = BASELINES[method].get_config(argument)[method]
    if "discriminator_width" in config:
        config.discriminator_width = 5
    config.update_from_flattened_dict(changes)
    return config


def make_batch(seed=0):
    batch = labelled_source_and_target(seed, (ROWS, WIDTH), CLASSES)
    batch["target"]["image"] += 1
    return batch


def initial(config):
    return METHODS[config.method].init(
        jax.random.key(0), jnp.zeros((2, WIDTH)), config=config, model=MODEL
    )


@functools.cache
def compiled(settings):
    """The train step of a stage, from its config as JSON: tests that share a stage share its
    compilation.
    """
    config = ConfigDict(json.loads(settings))
    method = METHODS[config.method]
    return jax.jit(
        lambda state, batch: method.train_step(
            state, batch, jax.random.key(0), config=config, model=MODEL
        )
    )


def after_one_step(config, state=None):
    return compiled(config.to_json())(state or initial(config), make_batch())


# CDAN's code differs in its inputs only.
@pytest.mark.parametrize("method", ["dann", pytest.param("cdan", marks=pytest.mark.slow)])
def test_the_first_step_reverses_nothing_while_the_discriminator_learns(method):
    """At step 0 the coefficient is 0: the classifier moves as with weight 0. Later coefficients:
    test_tllib_steps.
    """
    with_loss, without = (stage(method, weight=weight) for weight in (1.0, 0.0))
    (first, metrics), (plain, _) = after_one_step(with_loss), after_one_step(without)
    assert_trees_equal(first.params["classifier"], plain.params["classifier"])
    # The same images and classifier before the discriminator's first step and after it.
    before = initial(with_loss)
    again = before.replace(params={**before.params, "discriminator": first.params["discriminator"]})
    assert after_one_step(with_loss, again)[1]["alignment"] < metrics["alignment"]


@pytest.mark.parametrize(
    "frozen, moving", [("optimizer", "classifier_optimizer"), ("classifier_optimizer", "optimizer")]
)
def test_mcds_features_and_classifiers_have_optimisers_of_their_own(frozen, moving):
    config = stage("mcd", **{f"{frozen}.lr": 0.0})
    before, (after, metrics) = initial(config), after_one_step(config)
    heads = before.params["classifier"]["head"], before.params["second_head"]
    new_heads = after.params["classifier"]["head"], after.params["second_head"]
    features, new_features = before.params["classifier"]["fc1"], after.params["classifier"]["fc1"]
    still, moved = (features, new_features), (heads, new_heads)
    if frozen == "classifier_optimizer":
        still, moved = moved, still
    assert_trees_equal(*still)
    assert all(np.abs(a - b).max() > 0 for a, b in zip(*map(jax.tree.leaves, moved), strict=True))
    assert metrics["ce"] > 0 and metrics["ce_second"] > 0


@pytest.mark.parametrize("method", ["dan", "jan"])
def test_unknown_kernels_and_statistics_are_refused(method):
    with pytest.raises(UserError, match="kernel='cans': unknown; known: tllib, can"):
        initial(stage(method, kernel="cans"))
    with pytest.raises(UserError, match="statistic='cubic': unknown; known: linear, quadratic"):
        initial(stage(method, statistic="cubic"))


def test_a_joint_pass_shares_its_statistics_and_cannot_be_of_domains_normalised_apart():
    """By hand: one tenth of the mean of both domains' rows; apart, the source's first and then the
    target's, each a tenth of the way.
    """
    config, batch = stage("dann"), make_batch()
    kernel = np.asarray(initial(config).params["classifier"]["fc1"]["kernel"])
    source, target = ((batch[domain]["image"] @ kernel).mean(0) for domain in ("source", "target"))
    for joint, expected in (
        (True, 0.1 * (source + target) / 2),
        (False, 0.9 * 0.1 * source + 0.1 * target),
    ):
        moved, _ = after_one_step(stage("dann", joint_pass=joint))
        # float32 sums
        np.testing.assert_allclose(
            moved.batch_stats["classifier"]["bn1"]["mean"][0], expected, rtol=1e-5, atol=1e-6
        )
    with pytest.raises(UserError, match="set target_bn=0, or joint_pass=False"):
        initial(stage("dann", target_bn=1))


def test_a_stage_begins_with_the_networks_that_the_other_had():
    state = initial(stage("dann"))
    other = initial(stage("dan"))
    saved = {
        "params": jax.tree.map(lambda x: x + 1, other.params),
        "batch_stats": jax.tree.map(lambda x: x + 1, other.batch_stats),
    }
    begun = with_networks(state, saved, what="test")
    assert_trees_equal(
        (begun.params["classifier"], begun.batch_stats["classifier"]),
        (saved["params"]["classifier"], saved["batch_stats"]["classifier"]),
    )
    assert_trees_equal(
        (begun.params["discriminator"], begun.batch_stats["discriminator"]),
        (state.params["discriminator"], state.batch_stats["discriminator"]),
    )
