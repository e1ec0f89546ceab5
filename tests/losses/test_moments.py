"""M3SDA's moment distance: the formula's values and gradients (tier2_m3sda), and what the released
code has in its place, which is held to here as the docs tell it and nowhere shipped.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_value_and_gradients

from dajax.losses.classification import cross_entropy
from dajax.losses.classifier_discrepancy import classifier_discrepancy
from dajax.losses.moments import moment_distance
from dajax.ops.lengths import lengths
from dajax.recipes import m3sda as recipe

TOLERANCE = 1e-4  # tests/golden/README.md


def distance(features, orders):
    """Of features [E + 1, n, D], the target's last."""
    masks = jnp.ones(features.shape[:2], bool)
    return moment_distance(features[:-1], features[-1], masks[:-1], masks[-1], orders=orders)


def test_the_formula_and_its_gradients(golden):
    case = golden("tier2_m3sda")[""]
    orders = [
        int(key.rpartition("_")[2])
        for key in case
        if key.startswith("formula_") and "grad" not in key
    ]
    assert orders
    for order in orders:
        grads = [case[f"formula_grad_{order}"]]
        assert_value_and_gradients(
            lambda x, order=order: distance(x, order),
            [case["features"]],
            case[f"formula_{order}"],
            grads,
            TOLERANCE,
        )


def frobenius(a, b):
    return lengths((a - b).reshape(-1))


# of four sources and the target: one pair twice, another never
RELEASED_PAIRS = ((0, 4), (1, 4), (2, 4), (3, 4), (0, 1), (1, 2), (2, 0), (3, 0), (3, 1), (3, 1))


def k_moment(rows, order):
    """Of the released code: the fourth source is neither raised to the power nor averaged."""
    means = [(x**order).mean(0, keepdims=True) for x in rows]
    means[3] = rows[3]
    apart = lambda i, j: frobenius(*jnp.broadcast_arrays(means[i], means[j]))  # noqa: E731
    return sum(apart(i, j) for i, j in RELEASED_PAIRS)


def released(features, orders):
    """msda_regulizer, as docs/methods/m3sda.md lists its slips."""
    rows = [x - x.mean(0, keepdims=True) for x in features]
    rows[3] = features[3]
    value = sum(frobenius(rows[i], rows[j]) for i, j in RELEASED_PAIRS)
    return (value + sum(k_moment(rows, k) for k in range(2, orders + 1))) / 6


def test_the_released_code_is_what_the_docs_say_of_it(golden):
    case = golden("tier2_m3sda")[""]
    for kind, function in (("code", released), ("k_moment", lambda x, k: k_moment(list(x), k))):
        names = [key for key in case if key.startswith(f"{kind}_") and "grad" not in key]
        assert names
        for name in names:
            order = int(name.rpartition("_")[2])
            assert_value_and_gradients(
                lambda x, function=function, order=order: function(x, order),
                [case["features"]],
                case[name],
                [case[f"{kind}_grad_{order}"]],
                TOLERANCE,
            )


def test_the_steps_losses_are_the_authors_but_for_the_moments(golden):
    """Step A is all of cross-entropies; step B has there one of each head's alone, which moves two
    sources' logits of one head.
    """
    case = golden("tier2_m3sda")[""]
    labels = jnp.asarray(case["source_label"], jnp.int32)
    heads = [case["source_logits_1"], case["source_logits_2"]]
    weight = recipe.get_config("digits_five,root=DIR").m3sda.moment_weight
    orders = max(int(k[5:]) for k in case if k.startswith("code_") and k[5:].isdigit())
    moments = weight * case[f"code_{orders}"]

    def ce(logits, e):
        return cross_entropy(logits[e], labels[e]).mean()

    def step_a(first, second):
        return sum(ce(head, e) for head in (first, second) for e in range(len(labels)))

    def step_b(first, second):
        return ce(first, 0) + ce(second, 1)

    grads = [[case[f"step_{step}_grad_{i}"] for i in (1, 2)] for step in "ab"]
    assert_value_and_gradients(step_a, heads, case["step_a"] - moments, grads[0], TOLERANCE)
    apart = case["discrepancy"]
    assert_value_and_gradients(step_b, heads, case["step_b"] - moments + apart, grads[1], TOLERANCE)
    assert_value_and_gradients(
        lambda a, b: classifier_discrepancy(jax.nn.softmax(a), jax.nn.softmax(b)).mean(),
        [case["target_logits_1"], case["target_logits_2"]],
        apart,
        [case["discrepancy_grad_1"], case["discrepancy_grad_2"]],
        TOLERANCE,
    )


def test_by_hand():
    """Means 0, 2 and the target's 1: (1 + 1) / 2 + 2. Second moments 1, 4, 1: (0 + 3) / 2 + 3."""
    features = jnp.array([[[-1.0], [1.0]], [[2.0], [2.0]], [[1.0], [1.0]]])
    assert distance(features, 1) == pytest.approx(3.0)
    assert distance(features, 2) == pytest.approx(7.5)


def test_equal_domains_empty_ones_and_padding():
    rng = np.random.default_rng(0)
    rows = jnp.asarray(rng.normal(size=(3, 4, 2)), jnp.float32)
    value, grad = jax.value_and_grad(lambda x: distance(x, 2))(jnp.stack([rows[0]] * 3))
    assert value == 0 and not grad.any()
    masks = jnp.array([[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 1]], bool)

    def masked(x):
        return moment_distance(x[:2], x[2], masks[:2], masks[2], orders=2)

    value, grad = jax.value_and_grad(masked)(jnp.where(masks[..., None], rows, jnp.nan))
    first, last = (
        np.asarray(x)[np.asarray(mask)] for x, mask in ((rows[0], masks[0]), (rows[2], masks[2]))
    )
    expected = sum(np.linalg.norm((first**k).mean(0) - (last**k).mean(0)) for k in (1, 2)) / 2
    assert value == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(grad).all() and not np.asarray(grad)[~np.asarray(masks)].any()


def test_of_one_source_there_are_no_pairs_of_sources():
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 2)), jnp.float32)
    expected = np.linalg.norm(np.asarray(rows[0]).mean(0) - np.asarray(rows[1]).mean(0))
    assert distance(rows, 1) == pytest.approx(expected, rel=1e-5)
