"""CDD against the authors' own code (can_cdd.npz), a hand-computed case, and the degenerate batches
that real runs meet.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_value
from golden_arrays import between, names_in

from dajax.losses.cdd import cdd, discrepancy_matrix

CASES = between(names_in("can_cdd"), suffix="/mmd_matrix")  # all but head_e2e
TOLERANCE = 2e-5  # tests/golden/README.md: float32 against float64, relative to the largest entry
ZERO = 1e-30  # case m1 has gradients that are exactly zero


def blocks(rows, counts):
    """[sum of counts, d] sorted by class -> [C, max count, d] and its mask."""
    width, start = max(counts), 0
    padded = np.zeros((len(counts), width, rows.shape[1]), np.float32)
    mask = np.zeros((len(counts), width), bool)
    for i, count in enumerate(counts):
        padded[i, :count], mask[i, :count] = rows[start : start + count], True
        start += count
    return jnp.asarray(padded), jnp.asarray(mask)


def load(case):
    layers = range(int(case["num_layers"]))
    source = [blocks(case[f"src_l{i}"], case["nums_s"]) for i in layers]
    target = [blocks(case[f"tgt_l{i}"], case["nums_t"]) for i in layers]
    kernels = dict(
        kernel_num=tuple(map(int, case["kernel_num"])),
        kernel_mul=tuple(map(float, case["kernel_mul"])),
    )
    return [s for s, _ in source], [t for t, _ in target], source[0][1], target[0][1], kernels


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_the_authors(golden, name):
    case = golden("can_cdd")[name]
    source, target, source_mask, target_mask, kernels = load(case)
    num_classes = int(case["num_classes"])

    def loss(source, target, intra_only):
        out = cdd(
            source,
            target,
            source_mask,
            target_mask,
            num_classes=num_classes,
            intra_only=intra_only,
            **kernels,
        )
        return out.total, out

    for intra_only, prefix in ((False, "grad_cdd"), (True, "grad_intra")):
        (value, parts), grads = jax.jit(
            jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), static_argnums=2
        )(source, target, intra_only)
        # With one class there is no other: the file has NaN, and we have 0.
        assert np.isnan(case["inter"]) == (num_classes == 1)
        inter = 0.0 if intra_only else np.nan_to_num(case["inter"])
        unit = max(abs(case["intra"]), abs(inter), 1.0)
        expected = case["intra_only_cdd" if intra_only else "cdd"]
        assert_close(value, expected, TOLERANCE, unit=unit)
        assert_close(parts.intra, case["intra"], TOLERANCE, unit=unit)
        assert_close(parts.inter, inter, TOLERANCE, unit=unit)
        for domain, mask, domain_grads in (
            ("src", source_mask, grads[0]),
            ("tgt", target_mask, grads[1]),
        ):
            for i, grad in enumerate(domain_grads):
                expected = case[f"{prefix}_{domain}_l{i}"]
                found = np.asarray(grad)[np.asarray(mask)]
                assert_close(found, expected, TOLERANCE, floor=ZERO)
                assert not np.asarray(grad)[~np.asarray(mask)].any(), (
                    "a padded row received a gradient"
                )


@pytest.mark.parametrize("name", CASES)
def test_pair_matrix_is_the_authors(golden, name):
    case = golden("can_cdd")[name]
    source, target, source_mask, target_mask, kernels = load(case)
    run = jax.jit(lambda s, t: discrepancy_matrix(s, t, source_mask, target_mask, **kernels))
    assert_close(run(source, target), case["mmd_matrix"], TOLERANCE)


def test_gradients_reach_features_and_head_through_both_layers(golden):
    case = golden("can_cdd")["head_e2e"]
    counts = {"s": case["nums_s"], "t": case["nums_t"]}

    @jax.jit
    def loss(source, target, weight, bias):
        layers = []
        for rows, key in ((source, "s"), (target, "t")):
            width = int(counts[key][0])
            assert (counts[key] == width).all()
            probs = jax.nn.softmax(jnp.dot(rows, weight.T) + bias[None])
            layers.append([x.reshape(-1, width, x.shape[-1]) for x in (rows, probs)])
        masks = [jnp.ones(x[0].shape[:2], bool) for x in layers]
        out = cdd(
            *layers,
            *masks,
            num_classes=int(case["num_classes"]),
            kernel_num=(5, 5),
            kernel_mul=(2.0, 2.0),
        )
        return float(case["loss_weight"]) * out.total

    args = [jnp.asarray(case[k]) for k in ("src_feat", "tgt_feat", "head_weight", "head_bias")]
    value, grads = jax.value_and_grad(loss, argnums=(0, 1, 2, 3))(*args)
    assert_close(value, case["loss"], TOLERANCE, unit=1.0)
    names = ("grad_src_feat", "grad_tgt_feat", "grad_head_weight", "grad_head_bias")
    for grad, name in zip(grads, names, strict=True):
        assert_close(grad, case[name], TOLERANCE)


def test_hand_computed_two_by_two():
    """One class, one row each side at squared distance 1: bandwidth = 2 * 1 / (2 * 1) = 1, one
    kernel: D = 2 (1 - e^-1).
    """
    source, target, mask = jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1)), jnp.ones((1, 1), bool)
    out = cdd([source], [target], mask, mask, num_classes=2, kernel_num=(1,), kernel_mul=(2.0,))
    # The diagonal's distance is clipped up to 1e-5, hence exp(-1e-5) instead of 1.
    np.testing.assert_allclose(out.intra, (2 * np.exp(-1e-5) - 2 * np.exp(-1.0)) / 2, rtol=1e-6)
    assert out.inter == 0


@pytest.mark.parametrize(
    "name", ["nothing", "absent class", "identical features", "one row against none"]
)
def test_degenerate_batches_have_finite_value_and_gradient(name):
    source, target = jax.random.normal(jax.random.key(0), (2, 3, 2, 5))
    source_mask = target_mask = jnp.ones((3, 2), bool)
    if name == "nothing":
        source_mask = target_mask = jnp.zeros((3, 2), bool)
    if name == "absent class":
        target_mask = target_mask.at[1].set(False)
    if name == "identical features":
        source, target = jnp.ones_like(source), jnp.ones_like(target)
    if name == "one row against none":
        source_mask = jnp.zeros((3, 2), bool).at[0, 0].set(True)
        target_mask = jnp.zeros((3, 2), bool)

    @jax.jit
    def loss(source, target):
        return cdd(
            [source],
            [target],
            source_mask,
            target_mask,
            num_classes=3,
            kernel_num=(5,),
            kernel_mul=(2.0,),
        ).total

    value, grads = jax.value_and_grad(loss, argnums=(0, 1))(source, target)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in grads)
    if name in ("nothing", "one row against none"):
        assert value == 0 and not any(np.asarray(g).any() for g in grads)


def test_an_absent_class_is_the_same_as_a_batch_without_it():
    source, target = jax.random.normal(jax.random.key(1), (2, 3, 2, 5))
    mask = jnp.ones((3, 2), bool)
    kernels = dict(num_classes=7, kernel_num=(5,), kernel_mul=(2.0,))
    padded = cdd([source], [target], mask.at[2].set(False), mask.at[2].set(False), **kernels)
    smaller = cdd([source[:2]], [target[:2]], mask[:2], mask[:2], **kernels)
    assert_value(padded.total, smaller.total, 1e-6)
