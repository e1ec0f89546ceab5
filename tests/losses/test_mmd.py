"""DAN's, JAN's and the CAN repository's discrepancies against their authors' code (can_tllib,
can_mmd).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_value
from golden_arrays import between, names_in

from dajax.losses.kernels import distances_within, squared_distances
from dajax.losses.mmd import (
    ALPHAS,
    can_mmd,
    discrepancy,
    fixed_kernel,
    gaussian_kernels,
)

TOLERANCE = 2e-5  # tests/golden/README.md, of the largest entry


def masks(case):
    return jnp.ones(len(case["f_s"]), bool), jnp.ones(len(case["f_t"]), bool)


def tllib_constant(case):
    """2 / (n - 1), which tllib adds to its losses."""
    return 2.0 / (len(case["f_s"]) - 1)


@pytest.mark.parametrize("statistic", ["quadratic", "linear"])
def test_dan_is_the_authors(golden, statistic):
    case = golden("can_tllib")[f"dan_{statistic}"]
    valid, alphas = masks(case), case["alphas"].tolist()

    def loss(source, target):
        kernels = gaussian_kernels(source, target, *valid, alphas=alphas)
        return discrepancy(kernels, *valid, statistic=statistic)

    value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(case["f_s"], case["f_t"])
    assert_value(value + tllib_constant(case), case["loss"], TOLERANCE)
    for grad, key in zip(grads, ("grad_f_s", "grad_f_t"), strict=True):
        assert_close(grad, case[key], TOLERANCE)


def test_the_five_bandwidths_are_tllibs():
    """dan.py and jan.py of its examples: 2 ** k for k in range(-3, 2)."""
    assert ALPHAS == tuple(2.0**k for k in range(-3, 2))


@pytest.mark.parametrize("statistic", ["quadratic", "linear"])
def test_jan_is_the_authors(golden, statistic):
    case = golden("can_tllib")[f"jan_{statistic}"]
    valid, alphas = masks(case), case["alphas"].tolist()

    def loss(source, target, source_logits, target_logits):
        features = gaussian_kernels(source, target, *valid, alphas=alphas)
        probabilities = fixed_kernel(
            jax.nn.softmax(source_logits),
            jax.nn.softmax(target_logits),
            sigma=float(case["sigma_probs"]),
        )
        return discrepancy(features * probabilities, *valid, statistic=statistic)

    names = ("f_s", "f_t", "logits_s", "logits_t")
    value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))(
        *(case[name] for name in names)
    )
    assert_value(value + tllib_constant(case), case["loss"], TOLERANCE)
    for grad, name in zip(grads, names, strict=True):
        assert_close(grad, case[f"grad_{name}"], TOLERANCE)


@pytest.mark.parametrize("name", between(names_in("can_mmd"), suffix="/joint"))
def test_the_baselines_of_cans_repository_are_the_authors(golden, name):
    case = golden("can_mmd")[name]
    layers = len(between(case, "src_l"))
    source, target = ([case[f"{domain}_l{i}"] for i in range(layers)] for domain in ("src", "tgt"))
    valid = jnp.ones(len(source[0]), bool), jnp.ones(len(target[0]), bool)

    def loss(source, target):
        return can_mmd(
            source,
            target,
            *valid,
            kernel_num=(5,) * layers,
            kernel_mul=(2.0,) * layers,
            joint=bool(case["joint"]),
        )

    value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(source, target)
    assert_value(value, case["loss"], TOLERANCE)
    for layer in range(layers):
        assert_close(grads[0][layer], case[f"grad_src_l{layer}"], TOLERANCE)
        assert_close(grads[1][layer], case[f"grad_tgt_l{layer}"], TOLERANCE)


def all_losses(source, target, source_mask, target_mask):
    kernel = gaussian_kernels(source, target, source_mask, target_mask, alphas=ALPHAS)
    return jnp.stack(
        [
            discrepancy(kernel, source_mask, target_mask, statistic="quadratic"),
            discrepancy(kernel, source_mask, target_mask, statistic="linear"),
            can_mmd(
                [source],
                [target],
                source_mask,
                target_mask,
                kernel_num=(5,),
                kernel_mul=(2.0,),
                joint=False,
            ),
        ]
    )


def test_hand_computed_two_by_two():
    """Two rows a domain, at 0 and at 1: all pairs within a domain at distance 0, across at 1; the
    mean over all 16 pairs is 1 / 2.
    """
    source, target, valid = jnp.zeros((2, 1)), jnp.ones((2, 1)), jnp.ones(2, bool)
    kernel = gaussian_kernels(source, target, valid, valid, alphas=(1.0,))
    across = np.exp(-1.0)  # exp(-1 / (2 * 0.5))
    np.testing.assert_allclose(
        discrepancy(kernel, valid, valid, statistic="quadratic"), 2 - 2 * across, rtol=1e-6
    )
    np.testing.assert_allclose(
        discrepancy(kernel, valid, valid, statistic="linear"), 2 - 2 * across, rtol=1e-6
    )


@pytest.mark.parametrize("spread, offset", [(1.0, 0.0), (1.0, 100.0), (1e-4, 1.0)])
def test_distances_from_the_gram_matrix_are_those_of_the_differences(spread, offset):
    """Also where the rows are all but one point: rounding is relative to their spread."""
    drawn = jax.random.normal(jax.random.key(0), (12, 40))
    rows = offset + spread * drawn.at[jnp.array([3, 4])].set(0.0)  # two rows the same
    weights = jax.random.normal(jax.random.key(1), (12, 12))
    value, pull = jax.vjp(distances_within, rows)
    expected, expected_pull = jax.vjp(lambda x: squared_distances(x, x), rows)
    np.testing.assert_allclose(value, expected, rtol=0, atol=2e-6 * float(expected.mean()))
    assert not np.diag(value).any() and value[3, 4] <= 1e-6 * expected.mean()
    assert_close(pull(weights)[0], expected_pull(weights)[0], 1e-5)


def test_masked_rows_are_the_same_as_a_smaller_batch():
    source, target = jax.random.normal(jax.random.key(0), (2, 5, 3))
    few = jnp.arange(5) < 4
    whole = all_losses(source, target, few, few)
    smaller = all_losses(source[:4], target[:4], few[:4], few[:4])
    # the linear one loses a pair at the gap
    np.testing.assert_allclose(whole[jnp.array([0, 2])], smaller[jnp.array([0, 2])], rtol=1e-5)


@pytest.mark.parametrize("name", ["nothing", "no target", "one row", "identical features"])
def test_degenerate_batches_have_finite_value_and_gradient(name):
    source, target = jax.random.normal(jax.random.key(1), (2, 4, 3))
    source_mask = target_mask = jnp.ones(4, bool)
    if name == "nothing":
        source_mask = target_mask = jnp.zeros(4, bool)
    if name == "no target":
        target_mask = jnp.zeros(4, bool)
    if name == "one row":
        source_mask = target_mask = jnp.arange(4) < 1
    if name == "identical features":
        source, target = jnp.ones_like(source), jnp.ones_like(target)
    values, pull = jax.jit(
        lambda *x: jax.vjp(lambda s, t: all_losses(s, t, source_mask, target_mask), *x)
    )(source, target)
    grads = pull(jnp.ones(3))
    assert np.isfinite(values).all() and all(np.isfinite(grad).all() for grad in grads)
    if name in ("nothing", "no target", "identical features"):
        np.testing.assert_allclose(values, 0.0, atol=1e-6)


def test_unknown_statistics_and_unequal_batches_are_refused():
    kernel = jnp.ones((5, 5))
    with pytest.raises(ValueError, match="known: linear, quadratic"):
        discrepancy(kernel, jnp.ones(2, bool), jnp.ones(3, bool), statistic="cubic")
    with pytest.raises(ValueError, match="source batch 2 and target batch 3"):
        discrepancy(kernel, jnp.ones(2, bool), jnp.ones(3, bool), statistic="linear")
