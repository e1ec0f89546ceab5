"""Spatial aggregation against the authors' own code, by hand, and stored against blocked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close
from golden_arrays import channels_first, channels_last

from dajax.ops.aggregation import aggregate
from dajax.recipes import plca as plca_config

IMPLEMENTATIONS = ["dense", "blocked"]
SMALL_BLOCKS = 11  # of 48 or 54 pixels: several blocks, and a last one that overlaps the one before
TOLERANCE = 2e-6  # tests/golden/README.md, of a float32 port
RECIPE = plca_config.get_config("gta5_to_cityscapes,weights=none")


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_aggregated_features_and_probabilities_are_the_authors(golden, implementation):
    features = channels_last(golden("plca_feat_assoc")[""]["x2"])
    probs = jax.nn.softmax(channels_last(golden("plca_cls_assoc")[""]["logits2"]))
    alpha = RECIPE.plca.association.aggregation_alpha
    settings = dict(implementation=implementation, block_rows=SMALL_BLOCKS)
    for x, metric, case in (
        (features, "cosine", golden("plca_feat_assoc")["cos_spagg"]),
        (probs, "negative_kl", golden("plca_cls_assoc")["kl_spagg"]),
    ):
        run = jax.jit(functools.partial(aggregate, metric=metric, alpha=alpha, **settings))
        assert_close(channels_first(run(x)), case["x2_agg"], TOLERANCE)
        # alpha = 1 leaves W x alone.
        pixels = np.asarray(x).reshape(len(x), -1, x.shape[-1])
        weighted = np.einsum("nij,njc->nic", case["agg_w"], pixels)
        whole = aggregate(x, metric=metric, alpha=1.0, **settings)
        assert_close(whole.reshape(weighted.shape), weighted, TOLERANCE)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_two_aggregations_of_test_time_are_the_authors(golden, implementation):
    case = golden("plca_testtime")[""]
    alpha = RECIPE.evaluation.aggregation_alpha
    settings = dict(alpha=alpha, implementation=implementation, block_rows=SMALL_BLOCKS)
    classifier = jnp.asarray(case["cls_w"][:, :, 0, 0].T, jnp.float32)  # [C, M]

    @jax.jit
    def predict(features):
        features = aggregate(features, metric="cosine", **settings)
        probs = jax.nn.softmax(jnp.dot(features, classifier))
        return features, probs, aggregate(probs, metric="negative_kl", **settings)

    features, probs, probs_agg = predict(channels_last(case["feats"]))
    for found, key in ((features, "feats_agg"), (probs, "probs"), (probs_agg, "probs_agg")):
        assert_close(channels_first(found), case[key], TOLERANCE)
    np.testing.assert_allclose(np.asarray(probs_agg).sum(-1), 1.0, rtol=1e-6)


@functools.cache
def value_and_pull(metric, contrast, implementation):
    """(x, cotangent) -> value and gradient, compiled once for the tests that share its shapes."""
    settings = dict(
        metric=metric, alpha=0.3, contrast=contrast, implementation=implementation, block_rows=50
    )

    def run(x, cotangent):
        out, pull = jax.vjp(lambda x: aggregate(x, **settings), x)
        return out, *pull(cotangent)

    return jax.jit(run)


@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "negative_kl"])
def test_blocked_and_dense_agree_in_value_and_gradient(metric, contrast):
    x, cotangent = jax.random.normal(jax.random.key(0), (2, 2, 23, 19, 8))
    x = jax.nn.softmax(x) if metric == "negative_kl" else x
    dense, blocked = (
        value_and_pull(metric, contrast, implementation)(x, cotangent)
        for implementation in IMPLEMENTATIONS
    )
    for found, expected in zip(blocked, dense, strict=True):
        assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "negative_kl"])
def test_identical_and_zero_pixels_have_finite_value_and_gradient(metric, contrast, implementation):
    cotangent = jax.random.normal(jax.random.key(0), (2, 23, 19, 8))
    for x in (jnp.full_like(cotangent, 1 / 8), jnp.zeros_like(cotangent)):
        out, grad = value_and_pull(metric, contrast, implementation)(x, cotangent)
        np.testing.assert_allclose(out, x, rtol=1e-5)
        assert np.isfinite(grad).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_hand_computed_pair_of_pixels(implementation):
    """Two pixels at right angles without contrast normalisation: similarities 1 and 0, so each
    weighs itself with e / (1 + e).
    """
    own = np.e / (1 + np.e)
    out = aggregate(
        jnp.asarray([[2.0, 0.0], [0.0, 4.0]]).reshape(1, 2, 1, 2),
        metric="cosine",
        alpha=0.5,
        contrast=False,
        implementation=implementation,
        block_rows=1,
    )
    expected = [
        [0.5 * 2 + 0.5 * own * 2, 0.5 * (1 - own) * 4],
        [0.5 * (1 - own) * 2, 0.5 * 4 + 0.5 * own * 4],
    ]
    np.testing.assert_allclose(np.asarray(out).reshape(2, 2), expected, rtol=1e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_one_pixel_is_its_own_mean(implementation):
    x = jnp.asarray([3.0, 4.0]).reshape(1, 1, 1, 2)
    np.testing.assert_allclose(
        aggregate(x, metric="cosine", alpha=0.5, implementation=implementation), x, rtol=1e-6
    )


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bfloat16_is_computed_as_float32_and_its_gradient_returned_as_it_came(implementation):
    x = jax.random.normal(jax.random.key(1), (1, 3, 4, 5), jnp.bfloat16)
    settings = dict(metric="cosine", alpha=0.5, implementation=implementation, block_rows=5)
    out = aggregate(x, **settings)
    grad = jax.grad(lambda x: jnp.square(aggregate(x, **settings)).sum())(x)
    assert out.dtype == jnp.float32 and grad.dtype == jnp.bfloat16
    np.testing.assert_allclose(out, aggregate(x.astype(jnp.float32), **settings), rtol=1e-6)


def largest_array(jaxpr):
    """Entries of the largest intermediate anywhere in it."""
    sizes = [var.aval.size for eqn in jaxpr.eqns for var in eqn.outvars]
    inner = [
        getattr(leaf, "jaxpr", leaf)
        for eqn in jaxpr.eqns
        for leaf in jax.tree.leaves(list(eqn.params.values()))
    ]
    return max(sizes + [largest_array(each) for each in inner if hasattr(each, "eqns")], default=0)


@pytest.mark.parametrize("metric", ["cosine", "negative_kl"])
def test_at_test_time_no_matrix_of_all_pairs_is_formed(metric):
    x, pixels = jax.ShapeDtypeStruct((2, 92, 183, 19), jnp.float32), 92 * 183
    found = {}
    for implementation in ("auto", "dense"):
        # The sizes of the program's arrays: on a CPU the compiler's own count of memory leaves out
        # that of its fused softmax.
        run = functools.partial(aggregate, metric=metric, alpha=0.5, implementation=implementation)
        found[implementation] = largest_array(jax.make_jaxpr(run)(x).jaxpr)
    assert found["dense"] == pixels**2 and found["auto"] < 0.05 * pixels**2


def test_mistakes_are_named(unchecked_types):
    x = jnp.ones((1, 2, 2, 3))
    with pytest.raises(ValueError, match="unknown metric 'kl'; known: cosine, negative_kl"):
        aggregate(x, metric="kl", alpha=0.5)
    with pytest.raises(ValueError, match=r"alpha 1.5 is not in \[0, 1\]"):
        aggregate(x, metric="cosine", alpha=1.5)
    with pytest.raises(ValueError, match=r"expected \[N, h, w, C\], got shape \(2, 3\)"):
        aggregate(x[0, 0], metric="cosine", alpha=0.5)
