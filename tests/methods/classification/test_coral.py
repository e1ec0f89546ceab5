"""Deep CORAL: the loss by hand, where it must be nothing, and what a step does with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dajax.losses.coral import covariance_difference

ALL = jnp.ones(2, bool)


def test_two_covariances_by_hand():
    source, target = jnp.array([[0.0, 0.0], [2.0, 0.0]]), jnp.array([[1.0, 0.0], [1.0, 4.0]])
    # covariances [[2, 0], [0, 0]] and [[0, 0], [0, 8]]: (4 + 64) / (4 * 2 ** 2)
    assert covariance_difference(source, target, ALL, ALL) == pytest.approx(4.25)


def test_means_do_not_matter():
    rows = jax.random.normal(jax.random.key(0), (6, 3))
    mask = jnp.ones(6, bool)
    assert covariance_difference(rows, rows + 5.0, mask, mask) == pytest.approx(0.0, abs=1e-9)


def test_padded_rows_do_not_count():
    rows = jax.random.normal(jax.random.key(0), (2, 4, 3))
    mask = jnp.ones(4, bool)
    padded = jnp.pad(rows, ((0, 0), (0, 2), (0, 0)), constant_values=9.0)
    wide = jnp.pad(mask, (0, 2))
    np.testing.assert_allclose(
        covariance_difference(*padded, wide, wide),
        covariance_difference(*rows, mask, mask),
        rtol=1e-6,  # float32, sums of other lengths
    )


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_with_a_finite_gradient_where_a_domain_has_no_covariance(count):
    rows = jax.random.normal(jax.random.key(0), (2, 4, 3))
    masks = jnp.arange(4) < count, jnp.ones(4, bool)
    value, grads = jax.value_and_grad(lambda x: covariance_difference(*x, *masks))(rows)
    assert value == 0 and not np.asarray(grads).any()
