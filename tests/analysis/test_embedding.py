"""t-SNE of features: seeded, bounded, and near where features are alike."""

import sys

import numpy as np
import pytest

from dajax.analysis import embedding
from dajax.errors import UserError


def two_groups():
    rng = np.random.default_rng(0)
    centers = np.repeat(np.eye(2, 6), [12, 10], axis=0)
    # lengths differ and shall not matter
    return (centers + 0.05 * rng.normal(size=centers.shape)) * rng.uniform(1, 9, (22, 1))


def test_alike_features_are_near_and_one_seed_gives_one_picture():
    points = embedding.tsne(two_groups(), seed=0)
    assert points.shape == (22, 2) and points.dtype == np.float32
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(1)
    assert ((nearest < 12) == (np.arange(22) < 12)).all()
    np.testing.assert_array_equal(points, embedding.tsne(two_groups(), seed=0))


def test_the_lengths_of_features_do_not_matter():
    rows = two_groups()[8:16]
    scaled = rows * np.repeat([1.0, 64.0], 4)[:, None]  # a power of two rounds nothing
    np.testing.assert_array_equal(embedding.tsne(scaled, seed=0), embedding.tsne(rows, seed=0))


def test_features_without_spread_have_points_too():
    assert np.isfinite(embedding.tsne(np.ones((6, 3)), seed=0)).all()


@pytest.mark.parametrize("shape", [(4, 3), (embedding.MAX_POINTS + 1, 1), (30,)])
def test_the_number_of_points_is_bounded(shape):
    with pytest.raises(ValueError, match="N from 5 to 5000"):
        embedding.tsne(np.ones(shape), seed=0)


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        embedding.tsne(np.full((9, 2), np.nan), seed=0)


def test_components_are_coordinates_along_the_axes_of_most_variance():
    rows = np.array([[3.0, 1.0], [-3.0, 1.0], [0.0, 2.0], [0.0, 0.0]])
    expected = [[3, 0], [-3, 0], [0, 1], [0, -1]]
    np.testing.assert_allclose(embedding.principal_components(rows, 2), expected, atol=1e-12)
    assert embedding.principal_components(rows, 1).shape == (4, 1)


def test_a_zero_feature_stays_zero():
    found = embedding.unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]], rtol=1e-15)


def test_a_missing_package_is_one_line_with_the_command(monkeypatch):
    for name in list(sys.modules):
        if name.partition(".")[0] == "sklearn":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(UserError, match="scikit-learn is missing.*pip install scikit-learn"):
        embedding.tsne(two_groups(), seed=0)


class Absent:
    """A finder of modules for which scikit-learn is not installed."""

    def find_spec(self, name, *_):
        if name.partition(".")[0] == "sklearn":
            raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
