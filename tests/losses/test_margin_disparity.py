"""MDD's disparities: the values and gradients of the authors and of tllib (tier2_mdd)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_value_and_gradients

from dajax.losses.classification import cross_entropy
from dajax.losses.domain_adversarial import reversal_coefficient
from dajax.losses.margin_disparity import source_disparity, target_disparity
from dajax.recipes import mdd as recipe

TOLERANCE = 1e-4  # tests/golden/README.md
TLLIBS = 1e-6


def test_the_whole_loss_and_each_part_are_the_authors(golden):
    case = golden("tier2_mdd")[""]
    labels = jnp.asarray(case["label"], jnp.int32)
    n = len(labels)

    def total(logits, adversary, weight):
        on_source = source_disparity(adversary[:n], logits[:n]).mean()
        on_target = target_disparity(adversary[n:], logits[n:], 0.0).mean()
        return cross_entropy(logits[:n], labels).mean() + weight * on_source + on_target

    both = [case["logits"], case["adversary_logits"]]
    weights = [key.removeprefix("total_w") for key in case if key.startswith("total_w")]
    assert weights
    for weight in weights:
        assert_value_and_gradients(
            lambda a, b, weight=float(weight): total(a, b, weight),
            both,
            case[f"total_w{weight}"],
            [case[f"grad_{name}_w{weight}"] for name in ("logits", "adversary")],
            TOLERANCE,
        )
    logits, adversary = (jnp.asarray(x, jnp.float32) for x in both)
    for found, expected in (
        (cross_entropy(logits[:n], labels), "ce"),
        (source_disparity(adversary[:n], logits[:n]), "source_disparity"),
        (target_disparity(adversary[n:], logits[n:], 0.0), "target_disparity"),
    ):
        np.testing.assert_allclose(found.mean(), case[expected], rtol=TOLERANCE)


def test_the_guarded_logarithm_is_tllibs_where_it_saturates_too(golden):
    case = golden("tier2_mdd")[""]
    n = len(case["label"])
    logits = jnp.asarray(case["logits"], jnp.float32)

    def loss(adversary):
        return target_disparity(adversary[n:], logits[n:], TLLIBS).mean()

    grads = [case["target_disparity_tllib_grad"]]
    assert_value_and_gradients(
        loss, [case["adversary_logits"]], case["target_disparity_tllib"], grads, TOLERANCE
    )
    classes = jax.nn.one_hot(case["saturated_label"], case["saturated_logits"].shape[1])
    assert_value_and_gradients(
        lambda adversary: target_disparity(adversary, classes, TLLIBS).mean(),
        [case["saturated_logits"]],
        case["saturated_tllib"],
        [case["saturated_tllib_grad"]],
        TOLERANCE,
    )
    exact = jax.grad(lambda x: target_disparity(x, classes, 0.0).mean())
    assert np.isfinite(exact(jnp.asarray(case["saturated_logits"], jnp.float32))).all()


def test_the_reversal_rises_as_the_authors(golden):
    case = golden("tier2_mdd")[""]
    settings = recipe.get_config("office31,root=DIR,weights=none").mdd.reversal
    found = [reversal_coefficient(int(step), **settings) for step in case["reversal_iter"]]
    assert_close(np.array(found), case["reversal_coefficient"], TOLERANCE)


def test_by_hand():
    """The classifier says class 0; the adversary gives it 3/4."""
    logits, adversary = jnp.array([[2.0, 1.0]]), jnp.array([[np.log(3.0), 0.0]], jnp.float32)
    assert source_disparity(adversary, logits)[0] == pytest.approx(-np.log(0.75))
    assert target_disparity(adversary, logits, 0.0)[0] == pytest.approx(-np.log(0.25))
    for by in (source_disparity, lambda a, b: target_disparity(a, b, 0.0)):
        assert not jax.grad(lambda b, by=by: by(adversary, b)[0])(logits).any()
