"""The figures that a snapshot is chosen by without labels: by hand, against plain numpy, and where
there is nothing to choose.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dajax.ops import selection

RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(0, 2, (37, 5)), jnp.float32)


def probabilities(logits):
    logits = np.float64(logits)
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def entropy(p):
    return -(p * np.log(p)).sum(-1)


def density(logits, temperature=0.05):
    """Row by row, as the paper writes it."""
    p = probabilities(logits)
    unit = p / np.linalg.norm(p, axis=1, keepdims=True)
    found = []
    for i, row in enumerate(unit):
        e = np.exp(np.delete(unit, i, 0) @ row / temperature)
        found.append(entropy(e / e.sum()))
    return np.mean(found)


def log(*rows):
    return jnp.log(jnp.asarray(rows, jnp.float32))


def test_entropy_and_information_by_hand():
    """Two sure rows of two classes: no entropy, log 2 of information; two unsure ones: the reverse;
    two sure rows of one class: neither.
    """
    sure, unsure = log([1 - 1e-7, 1e-7], [1e-7, 1 - 1e-7]), log([0.5, 0.5], [0.5, 0.5])
    one_class = log([1 - 1e-7, 1e-7], [1 - 1e-7, 1e-7])
    for logits, h, im in (
        (sure, 0.0, np.log(2)),
        (unsure, np.log(2), 0.0),
        (one_class, 0.0, 0.0),
    ):
        # 1e-7 * log(1e-7) is left of the sure ones
        np.testing.assert_allclose(selection.mean_entropy(logits), h, atol=3e-6)
        np.testing.assert_allclose(selection.mutual_information(logits), im, atol=3e-6)


def test_density_by_hand():
    """Rows of one kind have each other for neighbours alike: log(N - 1). Of two kinds, each among
    its own, 3 + 3 rows, a row has two neighbours: log 2, for exp(-1 / 0.05) is nothing.
    """
    alike = log(*[[0.7, 0.2, 0.1]] * 4)
    np.testing.assert_allclose(selection.neighbourhood_density(alike), np.log(3), rtol=1e-6)
    two_kinds = log(*[[1 - 1e-7, 1e-7]] * 3, *[[1e-7, 1 - 1e-7]] * 3)
    np.testing.assert_allclose(selection.neighbourhood_density(two_kinds), np.log(2), rtol=1e-5)


@pytest.mark.parametrize("block_rows", [37, 10, 1])
def test_density_in_blocks_is_that_of_the_whole_matrix(block_rows):
    found = jax.jit(selection.neighbourhood_density, static_argnums=(1, 2))(
        LOGITS, selection.TEMPERATURE, block_rows
    )
    np.testing.assert_allclose(found, density(LOGITS), rtol=1e-5)  # float32 against float64


def test_figures_are_those_of_plain_numpy():
    p = probabilities(LOGITS)
    np.testing.assert_allclose(selection.mean_entropy(LOGITS), entropy(p).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        selection.mutual_information(LOGITS), entropy(p.mean(0)) - entropy(p).mean(), rtol=1e-5
    )


def test_extreme_and_few_rows_stay_finite():
    extreme = jnp.asarray([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [1e4, -1e4, 0.0]])
    for rows in (extreme, extreme[:2], extreme[:1]):
        for figure in (
            selection.mean_entropy,
            selection.mutual_information,
            selection.neighbourhood_density,
        ):
            assert np.isfinite(figure(rows))
    assert selection.neighbourhood_density(extreme[:2]) == 0.0


def naive_risk(weights, losses):
    """The authors' formula with numpy's covariance."""
    weighted = weights * losses
    eta = -np.cov(weighted, weights, ddof=1)[0, 1] / np.var(weights, ddof=1)
    return weighted.mean() + eta * weights.mean() - eta


def test_dev_is_the_risk_with_its_control():
    weights = RNG.uniform(0.1, 3, 50).astype(np.float32)
    losses = (RNG.random(50) < 0.3).astype(np.float32)
    np.testing.assert_allclose(
        jax.jit(selection.validation_risk)(weights, losses), naive_risk(weights, losses), rtol=1e-4
    )  # sums of 50 in float32
    # by hand: w l = (0, 2), Cov = Var = 1/2 over (1, 2): eta = -2, 1 - 2 * 1.5 + 2 = 0
    two = jnp.asarray([1.0, 2.0]), jnp.asarray([0.0, 1.0])
    np.testing.assert_allclose(selection.validation_risk(*two), 0.0, atol=1e-6)


def test_dev_with_equal_weights_is_the_mean_loss():
    for weight in (1.0, 1e13):
        weights = jnp.full(4, weight)
        risk = selection.validation_risk(weights / weight, jnp.asarray([1.0, 0.0, 0.0, 0.0]))
        np.testing.assert_allclose(risk, 0.25, rtol=1e-6)


def test_ratios_are_those_of_two_gaussians():
    """N(0, 1) and N(1, 1): the logarithm of the ratio is x - 1/2, a second coordinate says
    nothing.
    """
    rng = np.random.default_rng(1)
    source, target = (rng.normal(size=(4000, 2)).astype(np.float32) for _ in range(2))
    target[:, 0] += 1
    queries = np.float32([[-1, 0], [0, 5], [0.5, 0], [2, -5]])
    found = np.log(jax.jit(selection.density_ratios)(source, target, queries))
    np.testing.assert_allclose(found, queries[:, 0] - 0.5, atol=0.3)  # 8,000 draws, and a decay
    # the same with twice the target: a ratio of densities does not depend on how many were drawn
    twice = np.log(
        jax.jit(selection.density_ratios)(source, np.concatenate([target, target]), queries)
    )
    np.testing.assert_allclose(twice, found, atol=0.1)


def test_the_decay_is_judged_on_rows_that_were_held_back(monkeypatch):
    """In every fifth row the feature tells the domains apart the other way round than in those
    that a classifier is fitted to. The decays stand for weights 1 and -1.
    """
    source = jnp.asarray([[1.0], [-1.0], [-1.0], [-1.0], [-1.0]])
    monkeypatch.setattr(selection, "_fit", lambda *given: (jnp.asarray([given[-1]]), 0.0))
    run = jax.jit(lambda *rows: selection.density_ratios(*rows, decays=(1.0, -1.0)))
    found = run(source, -source, -source[:1])
    np.testing.assert_allclose(np.log(found), [1.0], rtol=1e-5)


def test_ratios_stay_finite_where_domains_lie_apart_and_where_features_are_constant():
    source, target = np.zeros((10, 3), np.float32), np.full((10, 3), 5, np.float32)
    target[:, 2] = source[:, 2] = 1
    run = jax.jit(selection.density_ratios)
    found = run(source, target, np.float32([[0, 0, 1], [1e6, 1e6, 1]]))
    assert np.isfinite(found).all() and found[0] < 1 < found[1]
    alike = run(source, source, source)
    np.testing.assert_allclose(alike, 1.0, rtol=1e-3)


def test_pixel_figures_are_those_of_the_images_apart():
    scores = RNG.normal(0, 2, (2, 3, 4, 5)).astype(np.float32)
    picks = np.int32([[0, 5, 11, 7], [1, 2, 3, 10]])
    entropies, means, densities = jax.jit(selection.image_figures)(scores, picks)
    rows = scores.reshape(2, 12, 5)
    np.testing.assert_allclose(entropies, entropy(probabilities(rows)).mean(1), rtol=1e-5)
    np.testing.assert_allclose(means, probabilities(rows).mean(1), rtol=1e-5)
    expected = [density(rows[i][picks[i]]) for i in range(2)]
    np.testing.assert_allclose(densities, expected, rtol=1e-5, atol=1e-6)  # one is near 0
