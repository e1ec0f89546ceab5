"""What the baselines promise beyond test_every_method.py, on a toy network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cls_base
from dajax.errors import UserError
from dajax.methods import METHODS
from dajax.stages import _begin_with
from toy_classifier import TwoHeads

CLASSES, WIDTH, ROWS = 4, 10, 8


MODEL = TwoHeads(CLASSES, (8, 6), stops=False)


def stage(method, argument="digits", **changes):
    config = cls_base.baseline(method, cls_base.parse(argument))
    if "discriminator_width" in config:
        config.discriminator_width = 5
    config.update_from_flattened_dict(changes)
    return config


def make_batch(seed=0):
    rng = np.random.default_rng(seed)
    images, mask = rng.normal(size=(2, ROWS, WIDTH)).astype(np.float32), np.ones(ROWS, bool)
    labels = rng.integers(0, CLASSES, ROWS).astype(np.int32)
    return {"source": {"image": images[0], "label": labels, "mask": mask}, "target": {"image": images[1] + 1, "mask": mask}}


def initial(config):
    images = {"source": 1, "target": 1, "sources": 1}
    return METHODS[config.method].init(jax.random.key(0), jnp.zeros((2, WIDTH)), config=config, model=MODEL, num_images=images)


def after_one_step(config, state=None):
    method = METHODS[config.method]
    return jax.jit(lambda s, b: method.train_step(s, b, None, config=config, model=MODEL))(state or initial(config), make_batch())


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("method", ["dann", "cdan"])
def test_the_first_step_reverses_nothing_and_the_second_does(method):
    """At step 0 the coefficient is 0: the classifier moves as with weight 0, while the discriminator already learns."""
    with_loss, without = (stage(method, weight=weight) for weight in (1.0, 0.0))
    (first, _), (plain, _) = after_one_step(with_loss), after_one_step(without)
    assert_equal(first.params["classifier"], plain.params["classifier"])
    moved = np.abs(first.params["discriminator"]["output"]["kernel"] - plain.params["discriminator"]["output"]["kernel"]).max()
    assert moved > 0
    second, third = (after_one_step(config, first)[0].params["classifier"]["fc1"]["kernel"] for config in (with_loss, without))
    assert np.abs(second - third).max() > 0


@pytest.mark.parametrize("frozen, moving", [("optimizer", "classifier_optimizer"), ("classifier_optimizer", "optimizer")])
def test_mcds_features_and_classifiers_have_optimisers_of_their_own(frozen, moving):
    config = stage("mcd", **{f"{frozen}.lr": 0.0})
    before, (after, metrics) = initial(config), after_one_step(config)
    heads = before.params["classifier"]["head"], before.params["second_head"]
    new_heads = after.params["classifier"]["head"], after.params["second_head"]
    features, new_features = before.params["classifier"]["fc1"], after.params["classifier"]["fc1"]
    still, moved = ((features, new_features), (heads, new_heads)) if frozen == "optimizer" else ((heads, new_heads), (features, new_features))
    assert_equal(*still)
    assert all(np.abs(a - b).max() > 0 for a, b in zip(jax.tree.leaves(moved[0]), jax.tree.leaves(moved[1])))
    assert metrics["ce"] > 0 and metrics["ce_second"] > 0


def test_mcd_maximises_with_the_classifiers_and_minimises_with_the_features():
    config = stage("mcd", weight=20.0, entropy_weight=0.0)
    config.optimizer.lr, config.classifier_optimizer.lr = 0.05, 0.05
    _, metrics = after_one_step(config)
    assert metrics["discrepancy_minimised"] < metrics["discrepancy_maximised"]


@pytest.mark.parametrize("method", ["dan", "jan"])
def test_the_kernels_are_tllibs_or_those_of_cans_repository(method):
    values = [after_one_step(stage(method, argument))[1]["alignment"] for argument in ("digits", "digits,network=can")]
    assert np.isfinite(values).all() and values[0] != values[1]
    with pytest.raises(UserError, match="unknown kernel 'cans'; known: tllib, can"):
        initial(stage(method, kernel="cans"))
    with pytest.raises(UserError, match="unknown statistic 'cubic'; known: linear, quadratic"):
        initial(stage(method, statistic="cubic"))


def test_a_joint_pass_shares_its_statistics_and_cannot_be_of_domains_normalised_apart():
    joint, _ = after_one_step(stage("dann"))
    apart, _ = after_one_step(stage("dann", joint_pass=False))
    assert np.abs(joint.batch_stats["classifier"]["bn1"]["mean"] - apart.batch_stats["classifier"]["bn1"]["mean"]).max() > 0
    with pytest.raises(UserError, match="set target_bn=0, or joint_pass=False"):
        initial(stage("dann", target_bn=1))


def test_a_stage_begins_with_the_networks_that_the_other_had():
    state = initial(stage("dann"))
    other = initial(stage("dan"))
    saved = {"params": jax.tree.map(lambda x: x + 1, other.params), "batch_stats": jax.tree.map(lambda x: x + 1, other.batch_stats)}
    begun = _begin_with(state, saved, what="test")
    assert_equal((begun.params["classifier"], begun.batch_stats["classifier"]), (saved["params"]["classifier"], saved["batch_stats"]["classifier"]))
    assert_equal((begun.params["discriminator"], begun.batch_stats["discriminator"]),
                 (state.params["discriminator"], state.batch_stats["discriminator"]))
