"""MSCAN's clustering ensemble; its rules are ours, so the cases are made by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dajax.ops.clustering import cosine_distances
from dajax.ops.clustering_ensemble import ensemble_labels


def unit(*degrees):
    """Points on the circle, float32 [N, 2]."""
    return jnp.stack(
        [jnp.cos(jnp.deg2rad(jnp.array(degrees))), jnp.sin(jnp.deg2rad(jnp.array(degrees)))], -1
    )


# Class centres of three sources in degrees: at 30 the first is sure of class 0, the others lean
# towards class 1.
CENTERS = jnp.stack([unit(30, 200), unit(100, 45), unit(90, 50)])


@pytest.mark.parametrize("rule, expected", [("mean", 0), ("vote", 1)])
def test_a_sure_source_outweighs_two_unsure_ones_in_the_mean_and_not_in_the_vote(rule, expected):
    row = unit(30)
    labels, distances = ensemble_labels(row, CENTERS, rule=rule, chunk_size=8)
    assert labels[0] == expected
    mean = np.mean([cosine_distances(row, centers) for centers in CENTERS], axis=0)[0]
    assert mean.argmin() == 0, "the mean prefers class 0"
    np.testing.assert_allclose(distances[0], mean[expected], rtol=1e-6)


def test_equal_votes_are_decided_by_the_mean_distance():
    # at 20: the first says 0, the second 1; on average 0 is far
    centers = jnp.stack([unit(0, 90), unit(170, 10)])
    labels, _ = ensemble_labels(unit(20), centers, rule="vote", chunk_size=1)
    mean = np.mean([cosine_distances(unit(20), own) for own in centers], axis=0)[0]
    assert labels[0] == mean.argmin()


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_one_source_is_its_own_clustering(rule):
    features = jax.random.normal(jax.random.key(0), (50, 6))
    centers = jax.random.normal(jax.random.key(1), (1, 4, 6))
    distances = np.asarray(cosine_distances(features, centers[0]))
    labels, found = ensemble_labels(features, centers, rule=rule, chunk_size=16)
    np.testing.assert_array_equal(labels, distances.argmin(1))
    np.testing.assert_allclose(found, distances.min(1), atol=1e-6)


def test_chunks_do_not_change_the_result_and_zero_rows_are_finite():
    features = jax.random.normal(jax.random.key(0), (37, 6)).at[5].set(0.0)
    # a class that one source does not have
    centers = jax.random.normal(jax.random.key(1), (3, 4, 6)).at[1, 2].set(0.0)
    whole, few = (
        ensemble_labels(features, centers, rule="mean", chunk_size=size) for size in (64, 5)
    )
    np.testing.assert_array_equal(whole[0], few[0])
    np.testing.assert_allclose(whole[1], few[1], atol=1e-6)
    assert np.isfinite(whole[1]).all()


def lacking(centers, *missing):
    """`centers` [E, K, D] with zeros for (source, class) pairs: no image of the class in the
    source.
    """
    for source, k in missing:
        centers = centers.at[source, k].set(0.0)
    return centers


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_a_class_that_other_sources_lack_is_predicted_by_the_one_that_has_it(rule):
    """Class 2 is the first source's alone. At 100 degrees that one is sure, the others put
    everything to class 1.
    """
    centers = lacking(
        jnp.stack([unit(0, 60, 100), unit(0, 80, 100), unit(0, 85, 100)]), (1, 2), (2, 2)
    )
    labels, distances = ensemble_labels(unit(100, 62, 1), centers, rule=rule, chunk_size=2)
    np.testing.assert_array_equal(labels, [2, 1, 0])
    by_hand = [  # cosine distances, averaged over the sources that have the class
        0.0,
        np.mean([0.5 * (1 - np.cos(np.deg2rad(gap))) for gap in (2, 18, 23)]),
        0.5 * (1 - np.cos(np.deg2rad(1))),
    ]
    np.testing.assert_allclose(distances, by_hand, atol=1e-6)  # float32 cosines near 1


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_a_class_that_no_source_has_is_nobodys(rule):
    """Opposite to every centre there is, a zero centre's similarity 0 would be the largest."""
    centers = lacking(jnp.stack([unit(0, 10, 20), unit(0, 10, 20)]), (0, 1), (1, 1))
    labels, distances = ensemble_labels(unit(180, 195), centers, rule=rule, chunk_size=2)
    np.testing.assert_array_equal(labels, [2, 0])
    np.testing.assert_allclose(distances, 0.5 * (1 - np.cos(np.deg2rad([160, 195]))), rtol=1e-6)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="known: mean, vote"):
        ensemble_labels(jnp.ones((2, 2)), jnp.ones((1, 2, 2)), rule="median", chunk_size=2)
