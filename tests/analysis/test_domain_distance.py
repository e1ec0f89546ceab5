"""CLAN's distance between class centers, and the A-distance between domains."""

import numpy as np
import pytest

from dajax.analysis.domain_distance import cluster_center_distance, proxy_a_distance
from dajax.ops.class_center_distance import class_moments


def test_the_distance_of_centers_by_hand():
    """Class 0: means (1, 0) and (4, 4), 5 apart; class 1 is not in the target; 2 is in neither."""
    source = class_moments(np.array([[0.0, 0], [2, 0], [7, 7]]), np.array([0, 0, 1]), 3)
    target = class_moments(np.array([[4.0, 4], [9, 9]]), np.array([0, 255]), 3)
    np.testing.assert_allclose(cluster_center_distance(source, target), [5, np.nan, np.nan])
    np.testing.assert_allclose(cluster_center_distance(target, source), [5, np.nan, np.nan])


def test_separable_domains_have_two_and_equal_ones_about_nothing():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(300, 4)), rng.normal(size=(200, 4))
    assert abs(proxy_a_distance(source, target, seed=0)) < 0.3  # chance: 3 deviations are 0.27
    assert proxy_a_distance(source, target + [9, 0, 0, 0], seed=0) == 2.0


def test_the_distance_is_that_of_the_best_threshold_in_one_dimension():
    """Source 0 and 1, target 1 and 2, half of each: the best linear classifier errs in a quarter,
    2 (1 - 2 / 4) = 1.
    """
    source, target = np.repeat([[0.0], [1.0]], 200, 0), np.repeat([[1.0], [2.0]], 200, 0)
    assert abs(proxy_a_distance(source, target, seed=1) - 1.0) < 0.15  # halves are random


def test_many_features_of_few_alike_rows_do_not_tell_domains_apart():
    """A plane separates any 20 rows of 40 features, and says nothing of the other halves."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(20, 40)), rng.normal(size=(20, 40))
    assert abs(proxy_a_distance(source, target, seed=0)) < 1.0  # chance: a deviation is 0.45


def test_scale_and_constant_features_do_not_matter():
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(60, 3)), rng.normal(0.7, 1, size=(60, 3))
    found = proxy_a_distance(source, target, seed=0)
    more = np.ones((60, 1))
    scaled = (np.hstack([rows * [1e3, 1, 1e-3], more]) for rows in (source, target))
    assert proxy_a_distance(*scaled, seed=0) == pytest.approx(found, abs=1e-9)
    assert 0.2 < found < 1.8


def test_too_few_or_broken_rows_are_refused():
    rows = np.ones((12, 2))
    with pytest.raises(ValueError, match="A-distance of 9 and 12 rows: needs 10"):
        proxy_a_distance(rows[:9], rows, seed=0)
    with pytest.raises(ValueError, match="not finite"):
        proxy_a_distance(rows * np.inf, rows, seed=0)
