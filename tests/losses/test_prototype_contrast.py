"""Pixel-to-prototype contrast against SPCL's and DASS's code and BiCL's formulas (spcl_loss,
dass_pair_loss, dass_formula, dass_iter).
"""

import jax
import jax.numpy as jnp
import numpy as np
import prototype_golden as pg
import pytest
from compare import assert_close, assert_value
from golden_arrays import channels_first, channels_last, everywhere, ints

from dajax.losses.prototype_contrast import overlap_contrast, prototype_contrast
from dajax.ops import prototypes as proto
from dajax.ops.prototypes import prototype_similarities
from dajax.ops.resize import resize_nearest_legacy
from dajax.parallel import masked_mean
from dajax.recipes import spcl as spcl_config

# SPCL's own; the golden file has other ones besides.
TEMPERATURE = spcl_config.get_config("gta5_to_cityscapes,weights=none").spcl.temperature


def spcl(features, prototypes, labels, temperature):
    return masked_mean(
        *prototype_contrast(
            features, prototypes, labels, temperature=temperature, normalize_prototypes=False
        )
    )


@pytest.mark.parametrize("suffix", ["", "_tau_alt"])
@pytest.mark.parametrize("domain", ["src", "tgt"])
def test_the_contrast_and_its_gradient_are_spcls(golden, domain, suffix):
    case = golden("spcl_loss")[""]
    temperature = float(case["tau_alt"]) if suffix else TEMPERATURE
    prototypes = jnp.asarray(case["prototype"].T, jnp.float32)
    labels = ints(case[f"{domain}_mask"])
    run = jax.jit(jax.value_and_grad(lambda f: spcl(f, prototypes, labels, temperature)))
    value, grad = run(channels_last(case[f"{domain}_feat"]))
    expected = case[f"loss_{domain}{suffix}"]
    if suffix:
        assert_value(value, expected, pg.VALUE_TOLERANCE)
    else:
        pg.assert_contrast(value, expected, len(prototypes))
    expected = case[f"grad_{domain}_feat{suffix}"]
    assert_close(channels_first(grad), expected, pg.GRADIENT_TOLERANCE)


def test_a_wrong_temperature_or_prototype_would_be_seen(golden):
    case = golden("spcl_loss")[""]
    prototypes, labels = jnp.asarray(case["prototype"].T, jnp.float32), ints(case["src_mask"])
    features, expected = channels_last(case["src_feat"]), case["grad_src_feat"]
    for wrong in (
        jax.grad(spcl)(features, prototypes, labels, 0.99 * TEMPERATURE),
        jax.grad(spcl)(features, prototypes[::-1], labels, TEMPERATURE),
    ):
        error = np.abs(channels_first(wrong) - expected).max()
        assert error > 10 * pg.GRADIENT_TOLERANCE * np.abs(expected).max()


def test_the_contrast_by_hand():
    features = jnp.asarray([[[[3.0, 4.0], [0.0, 2.0]]]])  # unit: (0.6, 0.8), (0, 1)
    prototypes = jnp.asarray([[2.0, 0.0], [0.0, 1.0]])
    labels = jnp.asarray([[[0, 255]]])
    values, valid = prototype_contrast(
        features, prototypes, labels, temperature=2.0, normalize_prototypes=False
    )
    np.testing.assert_array_equal(valid, [[[True, False]]])
    np.testing.assert_allclose(values, [[[np.log1p(np.exp((0.8 - 1.2) / 2)), 0.0]]], rtol=1e-6)
    cosine, _ = prototype_contrast(
        features, prototypes, labels, temperature=2.0, normalize_prototypes=True
    )
    np.testing.assert_allclose(cosine[0, 0, 0], np.log1p(np.exp((0.8 - 0.6) / 2)), rtol=1e-6)
    alone, valid = prototype_contrast(
        features,
        prototypes,
        labels,
        temperature=2.0,
        present=jnp.asarray([True, False]),
        normalize_prototypes=True,
    )
    np.testing.assert_allclose(alone[0, 0, 0], np.log1p(np.exp((-1.0 - 0.6) / 2)), rtol=1e-6)
    assert valid[0, 0, 0]


def formula(case, source_features, target_features):
    """FC and BC with the golden labels: {name: (sum, count, mean)}."""
    labels = {"S": ints(case["y_S"]), "T": ints(case["y_T"])}
    num_classes, temperature = len(case["rho_S"]), float(case["tau"])
    features, out = {"S": source_features, "T": target_features}, {}
    for name, pixels, prototypes in (("fc", "T", "S"), ("bc", "S", "T")):
        own = features[prototypes], labels[prototypes], everywhere(labels[prototypes])
        rho, present = proto.class_means(*proto.sums_and_counts(*own, num_classes))
        values, valid = prototype_contrast(
            features[pixels],
            rho,
            labels[pixels],
            temperature=temperature,
            present=present,
            normalize_prototypes=True,
        )
        out[name] = values.sum(), valid.sum(), masked_mean(values, valid)
    return out


@pytest.mark.parametrize("name, pixels", [("fc", "T"), ("bc", "S")])
def test_forward_and_backward_contrast_are_the_slides(golden, name, pixels):
    case = golden("dass_formula")[""]
    features = channels_last(case["f_S"]), channels_last(case["f_T"])
    total, count, mean = jax.jit(lambda s, t: formula(case, s, t))(*features)[name]
    assert_value(total, case[f"{name}_sum"], pg.VALUE_TOLERANCE)
    assert_value(mean, case[f"{name}_mean"], pg.VALUE_TOLERANCE)
    assert count == case[f"{name}_count"]
    grads = jax.jit(jax.grad(lambda s, t: formula(case, s, t)[name][2], argnums=(0, 1)))(*features)
    for grad, domain in zip(grads, "ST", strict=True):
        expected = case[f"{name}_mean_grad_f{domain}"]
        assert_close(channels_first(grad), expected, pg.GRADIENT_TOLERANCE)

    other = "S" if pixels == "T" else "T"
    rho, present = jnp.asarray(case[f"rho_{other}"], jnp.float32), jnp.asarray(case[f"ok_{other}"])

    def loss(f):
        values = prototype_contrast(
            f,
            rho,
            ints(case[f"y_{pixels}"]),
            temperature=float(case["tau"]),
            present=present,
            normalize_prototypes=True,
        )
        return masked_mean(*values)

    grad = jax.grad(loss)(features["ST".index(pixels)])
    expected = case[f"{name}_mean_grad_pixel_stopgrad_proto"]
    assert_close(channels_first(grad), expected, pg.GRADIENT_TOLERANCE)


@pytest.mark.parametrize("name, weights", [("fc", (1.0, 0.0)), ("bc", (0.0, 1.0)), ("both", None)])
def test_the_pair_losses_are_the_released_codes(golden, name, weights):
    """Each direction alone, and both with the file's weights."""
    case = golden("dass_pair_loss")[""]
    labels, num_classes = [ints(case[f"label_{d}"]) for d in "st"], len(case["prototypes_s"])
    weights = case["lamb_metric"].tolist() if weights is None else weights

    def loss(source_features, target_features):
        pairs = pg.pair_losses(source_features, labels[0], target_features, labels[1], num_classes)
        directions = zip(weights, pairs, strict=True)
        return sum(weight * masked_mean(*direction) for weight, direction in directions)

    features = channels_last(case["feature_s"]), channels_last(case["feature_t"])
    value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(*features)
    assert_value(value, case[f"loss_{name}"], pg.VALUE_TOLERANCE)
    for grad, domain in zip(grads, "st", strict=True):
        expected = case[f"grad_feature_{domain}_{name}"]
        assert_close(channels_first(grad), expected, pg.GRADIENT_TOLERANCE)


def test_prototypes_and_similarities_of_a_pair_are_the_released_codes(golden):
    case = golden("dass_pair_loss")[""]
    present = {}
    for domain, other, similarity in (("s", "t", "sim_t_to_ps"), ("t", "s", "sim_s_to_pt")):
        features, expected = channels_last(case[f"feature_{domain}"]), case[f"prototypes_{domain}"]
        small = resize_nearest_legacy(ints(case[f"label_{domain}"]), features.shape[1:3])
        np.testing.assert_array_equal(small[0], case[f"label_{domain}_small"])
        sums = proto.sums_and_counts(features, small, everywhere(small), len(expected))
        means, present[domain] = proto.class_means(*sums)
        assert_close(means, expected, pg.VALUE_TOLERANCE)
        found = prototype_similarities(
            channels_last(case[f"feature_{other}"]),
            means,
            present=present[domain],
            normalize_prototypes=True,
        )
        assert_close(channels_first(found[0]), case[similarity], 1e-6, unit=1.0)  # of a cosine
    np.testing.assert_array_equal(present["s"] & present["t"], case["class_weight"] > 0)


def test_a_whole_iteration_is_the_released_codes(golden):
    case = golden("dass_iter")[""]
    labels = {domain: ints(case[f"label_{domain}"]) for domain in "st"}
    settings = dict(
        target_weight=float(case["lambt"]),
        entropy_weight=float(case["lamb"]),
        contrast_weights=case["lamb_metric"].tolist(),
    )

    def loss(inputs):
        domains = (
            {
                "logits": inputs[f"logits_{d}"],
                "features": inputs[f"feature_{d}"],
                "labels": labels[d],
            }
            for d in "st"
        )
        terms = pg.dass_iteration(*domains, **settings)
        return terms["total"], terms

    names = ("logits_s", "logits_t", "feature_s", "feature_t")
    (_, terms), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        {name: channels_last(case[name]) for name in names}
    )
    assert len(terms) == 5
    for name, value in terms.items():
        assert_value(value, case[f"loss_{name}"], pg.VALUE_TOLERANCE)
    pg.assert_iteration_gradients(grads, case)


EDGES = {
    "all ignored": lambda f, p, y: (f, p, jnp.full_like(y, 255)),
    "zero features": lambda f, p, y: (f.at[0].set(0.0), p, y),
    "zero prototypes": lambda f, p, y: (f, jnp.zeros_like(p), y),
    "identical features": lambda f, p, y: (jnp.ones_like(f), p, y),
    "a pixel on its prototype": lambda f, p, y: (
        jnp.broadcast_to(p[1], f.shape),
        p,
        jnp.ones_like(y),
    ),
}


@pytest.mark.parametrize("absent", ["none", "some", "all"])
@pytest.mark.parametrize("edge", EDGES)
def test_edges_have_finite_values_and_gradients(edge, absent):
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(2, 3, 4, 5)), jnp.float32)
    prototypes = jnp.asarray(rng.normal(size=(6, 5)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 6, (2, 3, 4)), jnp.int32)
    features, prototypes, labels = EDGES[edge](features, prototypes, labels)
    present = {"none": None, "some": jnp.arange(6) > 0, "all": jnp.zeros(6, bool)}[absent]

    def loss(features, prototypes):
        return masked_mean(
            *prototype_contrast(
                features,
                prototypes,
                labels,
                temperature=0.1,
                present=present,
                normalize_prototypes=True,
            )
        )

    value, grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(features, prototypes)
    assert np.isfinite(value) and all(np.isfinite(grad).all() for grad in grads)
    if edge == "all ignored" or absent == "all":
        assert value == 0 and not any(np.asarray(grad).any() for grad in grads)


def test_a_pair_without_common_class_costs_nothing_and_the_others_keep_their_loss():
    rng = np.random.default_rng(1)
    features = jnp.asarray(rng.normal(size=(2, 4, 4, 3)), jnp.float32)
    source_labels = jnp.asarray(rng.integers(0, 2, (2, 4, 4)), jnp.int32)
    target_labels = source_labels.at[1].set(5)

    def loss(features, n):
        (values, has_pixels), _ = pg.pair_losses(
            features[:n], source_labels[:n], -features[:n], target_labels[:n], 6
        )
        return masked_mean(values, has_pixels), has_pixels

    step = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    ((both, has_pixels), grad), ((first, _), first_grad) = step(features, 2), step(features, 1)
    np.testing.assert_array_equal(has_pixels, [True, False])
    assert first > 0
    np.testing.assert_allclose(both, first, rtol=1e-6)
    # of gradients of order 0.1
    np.testing.assert_allclose(grad[:1], first_grad[:1], rtol=1e-5, atol=1e-7)
    assert not np.asarray(grad[1]).any()
    values, has_pixels = overlap_contrast(
        jnp.zeros((2, 4, 4, 6)), jnp.full((2, 4, 4), 255), jnp.ones((2, 6), bool), temperature=0.1
    )
    assert not values.any() and not has_pixels.any()


def test_widths_that_do_not_fit_are_named(unchecked_types):
    with pytest.raises(ValueError, match=r"features \(1, 2, 2, 3\) and prototypes \(4, 5\)"):
        prototype_similarities(
            jnp.zeros((1, 2, 2, 3)), jnp.zeros((4, 5)), normalize_prototypes=True
        )
