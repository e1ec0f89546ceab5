"""Cycle association against the authors' own code (plca_feat_assoc.npz, plca_cls_assoc.npz), by
hand, stored against blocked, and at the edges.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close
from golden_arrays import channels_first, channels_last, ints

from dajax.losses.association import cycle_association
from dajax.ops import row_blocks
from dajax.ops.aggregation import aggregate
from dajax.parallel import masked_mean
from dajax.recipes import plca as plca_config

IMPLEMENTATIONS = ["dense", "blocked"]
# Of 63 and 48 pixels: several blocks, and a last one that overlaps the one before.
SMALL_BLOCKS = 11
AUTHORS = plca_config.get_config("gta5_to_cityscapes,weights=none").plca.association
LEVELS = {
    "cos_spagg": ("cosine", True, True),
    "cos_nospagg": ("cosine", False, True),
    "cos_spagg_nocn": ("cosine", True, False),
    "cos_nospagg_nocn": ("cosine", False, False),
    "kl_spagg": ("negative_kl", True, True),
    "kl_nospagg": ("negative_kl", False, True),
    "kl_spagg_nocn": ("negative_kl", True, False),
    "kl_nospagg_nocn": ("negative_kl", False, False),
}
# tests/golden/README.md: (values, gradients), relative to the largest entry. float64 is the same
# formula with another order of sums.
TOLERANCES = {"float32": (2e-6, 2e-5), "float64": (1e-12, 1e-11)}


def plca_loss(
    source, target, labels, *, metric, aggregated, contrast, implementation, block_rows=SMALL_BLOCKS
):
    """The loss of a level as a method writes it, and the Association."""
    settings = dict(metric=metric, implementation=implementation, block_rows=block_rows)
    if aggregated:  # probabilities are aggregated without contrast normalisation in any case
        alpha = AUTHORS.aggregation_alpha
        target = aggregate(
            target, alpha=alpha, contrast=contrast and metric == "cosine", **settings
        )
    association = cycle_association(source, target, labels, contrast=contrast, **settings)
    return masked_mean(association.values, association.mask), association


# These tests spend their time on compiling. So the two halves of a level are compiled apart, each
# once, and nearly all for the golden shapes.
@functools.cache
def association_gradients(metric, contrast, implementation):
    settings = dict(
        metric=metric, aggregated=False, contrast=contrast, implementation=implementation
    )
    return jax.jit(
        jax.value_and_grad(functools.partial(plca_loss, **settings), argnums=(0, 1), has_aux=True)
    )


@functools.cache
def aggregation_gradient(metric, contrast, implementation):
    settings = dict(
        metric=metric,
        alpha=AUTHORS.aggregation_alpha,
        contrast=contrast,
        implementation=implementation,
        block_rows=SMALL_BLOCKS,
    )

    def run(x, cotangent):
        out, pull = jax.vjp(functools.partial(aggregate, **settings), x)
        return out, *pull(cotangent)

    return jax.jit(run)


def value_and_gradients(level, implementation):
    """(source, target, labels) -> (loss, Association), (gradient of the source, gradient of the
    target).
    """
    metric, aggregated, contrast = LEVELS[level]
    run = association_gradients(metric, contrast, implementation)
    if not aggregated:
        return run
    run_aggregation = aggregation_gradient(metric, contrast and metric == "cosine", implementation)

    def both(source, target, labels):
        blended, _ = run_aggregation(target, jnp.zeros_like(target))
        found, (source_grad, blended_grad) = run(source, blended, labels)
        return found, (source_grad, run_aggregation(target, blended_grad)[1])

    return both


def level_inputs(golden, level, dtype=jnp.float32):
    """Source and target features or logits, and source labels."""
    kind, names = ("feat", ("x1", "x2"))
    if is_of_probabilities(level):
        kind, names = ("cls", ("logits1", "logits2"))
    arrays = golden(f"plca_{kind}_assoc")[""]
    source, target = (channels_last(arrays[name], dtype) for name in names)
    return source, target, ints(arrays["gt"])


def is_of_probabilities(level):
    return LEVELS[level][0] == "negative_kl"


# float64 costs another compilation and shows nothing new for the other levels.
CASES = [(level, "float32") for level in LEVELS] + [
    ("cos_spagg", "float64"),
    ("kl_spagg", "float64"),
]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("level, dtype", CASES)
def test_value_cycles_and_gradients_are_the_authors(golden, level, dtype, implementation):
    is_features = not is_of_probabilities(level)
    case = golden("plca_feat_assoc" if is_features else "plca_cls_assoc")[level]
    value_tolerance, gradient_tolerance = TOLERANCES[dtype]
    with jax.enable_x64(dtype == "float64"):
        source, target, labels = level_inputs(golden, level, dtype)
        if not is_features:
            source, pull_source = jax.vjp(jax.nn.softmax, source)
            target, pull_target = jax.vjp(jax.nn.softmax, target)
        run = value_and_gradients(level, implementation)
        (value, association), (source_grad, target_grad) = run(source, target, labels)
        if is_features:
            grads = {"x1": source_grad, "x2": target_grad}
        else:
            grads = {"p1": source_grad, "p2": target_grad}
            (grads["logits1"],) = pull_source(source_grad)
            (grads["logits2"],) = pull_target(target_grad)
    assert (
        value.dtype == dtype
        and association.target_index.dtype == association.end_index.dtype == jnp.int32
    )
    assert_close(value, case["loss"], value_tolerance)
    assert np.abs(case["pair_prob"]).max() > 0
    for found, key in (
        (association.target_index, "jstar"),
        (association.end_index, "istar"),
        (association.mask, "mask"),
    ):
        np.testing.assert_array_equal(np.asarray(found), case[key].reshape(found.shape))
    assert_close(
        np.exp(-np.asarray(association.values)),
        case["pair_prob"].reshape(association.values.shape),
        gradient_tolerance,
    )

    # with respect to features, to logits, and to the probabilities themselves: those of the file
    stored = [name for name in grads if f"grad_{name}" in case]
    assert stored or level.endswith("_nocn")
    for name in stored:
        assert_close(channels_first(grads[name]), case[f"grad_{name}"], gradient_tolerance)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_zero_feature_changes_nothing_elsewhere_and_gets_no_gradient(golden, implementation):
    case = golden("plca_feat_assoc")["edge_zero"]
    source, target, labels = level_inputs(golden, "cos_spagg")
    pixel = tuple(int(i) for i in case["pixel"])
    (value, _), grads = value_and_gradients("cos_spagg", implementation)(
        source.at[pixel].set(0.0), target, labels
    )
    assert_close(value, case["loss"], 2e-6)
    assert not np.asarray(grads[0][pixel]).any()
    for grad, key in zip(grads, ("grad_x1_others", "grad_x2"), strict=True):
        assert_close(channels_first(grad), case[key], 2e-5)


def edge_inputs(golden, level):
    source, target, labels = level_inputs(golden, level)
    if is_of_probabilities(level):
        source, target = jax.nn.softmax(source), jax.nn.softmax(target)
    return source, target, labels


def assert_nothing(result):
    (value, association), grads = result
    assert value == 0 and not association.mask.any()
    assert not any(np.asarray(grad).any() for grad in grads)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("level", ["cos_spagg", "kl_spagg"])
class TestEdges:
    def test_ignored_labels_everywhere_are_no_cycle_and_no_gradient(
        self, golden, level, implementation
    ):
        source, target, labels = edge_inputs(golden, level)
        for ignored in (255, -1):
            assert_nothing(
                value_and_gradients(level, implementation)(
                    source, target, jnp.full_like(labels, ignored)
                )
            )

    def test_no_valid_cycle_is_no_gradient(self, golden, level, implementation):
        source, target, labels = edge_inputs(golden, level)
        run = value_and_gradients(level, implementation)
        # every pixel a class of its own
        own_class = 1000 + jnp.arange(labels.size, dtype=jnp.int32).reshape(labels.shape)
        closed = run(source, target, own_class)[0][1].mask
        assert closed.any()
        assert_nothing(run(source, target, jnp.where(closed.reshape(labels.shape), 255, own_class)))

    def test_with_one_class_every_cycle_is_valid(self, golden, level, implementation):
        source, target, labels = edge_inputs(golden, level)
        (value, association), _ = value_and_gradients(level, implementation)(
            source, target, jnp.zeros_like(labels)
        )
        assert association.mask.all()
        np.testing.assert_allclose(value, np.mean(association.values), rtol=1e-6)

    def test_identical_pixels_are_finite(self, golden, level, implementation):
        source, target, labels = edge_inputs(golden, level)
        source, target = (jnp.broadcast_to(x[:1, :1, :1], x.shape) for x in (source, target))
        for contrast in ("", "_nocn"):
            (value, association), grads = value_and_gradients(level + contrast, implementation)(
                source, target, labels
            )
            assert (
                np.isfinite(value)
                and np.isfinite(association.values).all()
                and all(np.isfinite(grad).all() for grad in grads)
            )
        # Without contrast normalisation both softmaxes are flat, over all pixels of the other
        # image.
        num_pixels = [np.prod(x.shape[1:3]) for x in (source, target)]
        expected = np.full(association.values.shape, np.log(num_pixels[0] * num_pixels[1]))
        np.testing.assert_allclose(association.values, expected, rtol=1e-5)


def test_hand_computed_pair():
    """Unit vectors at right angles, no contrast normalisation: every best similarity is 1, the
    other 0: p = e / (1 + e) both ways.
    """
    source = jnp.asarray([[1.0, 0.0], [0.0, 2.0]]).reshape(1, 1, 2, 2)
    target = jnp.asarray([[0.0, 3.0], [1.0, 0.0]]).reshape(1, 2, 1, 2)
    for implementation in IMPLEMENTATIONS:
        settings = dict(
            metric="cosine", contrast=False, implementation=implementation, block_rows=1
        )
        out = cycle_association(source, target, jnp.asarray([[[4, 255]]]), **settings)
        np.testing.assert_allclose(
            out.values, np.full((1, 2), 2 * np.log1p(np.exp(-1.0))), rtol=1e-6
        )
        np.testing.assert_array_equal(out.target_index, [[1, 0]])
        np.testing.assert_array_equal(out.end_index, [[0, 1]])
        np.testing.assert_array_equal(out.mask, [[True, False]])


@pytest.mark.parametrize("metric", ["cosine", "negative_kl"])
def test_blocked_and_dense_agree_on_larger_grids_of_different_shape(metric):
    source = jax.random.normal(jax.random.key(2), (1, 33, 31, 16))
    target = jax.random.normal(jax.random.key(3), (1, 29, 27, 16))
    labels = jax.random.randint(jax.random.key(4), (1, 33, 31), 0, 3)
    if metric == "negative_kl":
        source, target = jax.nn.softmax(2.0 * source), jax.nn.softmax(2.0 * target)
    results = []
    # ops/test_aggregation.py does the same for the aggregation
    for implementation in IMPLEMENTATIONS:
        # 10 blocks of source and 8 of target rows, both with an overlapping last one.
        settings = dict(
            metric=metric,
            aggregated=False,
            contrast=True,
            implementation=implementation,
            block_rows=110,
        )
        loss = functools.partial(plca_loss, **settings)
        results.append(
            jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(source, target, labels)
        )
    ((dense_value, dense), dense_grads), ((blocked_value, blocked), blocked_grads) = results
    for found, expected in zip(blocked[1:], dense[1:], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert_close(blocked_value, dense_value, 1e-5)
    for found, expected in zip(blocked_grads, dense_grads, strict=True):
        assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bfloat16_is_computed_as_float32(golden, implementation):
    source, target, labels = level_inputs(golden, "cos_nospagg")
    source, target = source.astype(jnp.bfloat16), target.astype(jnp.bfloat16)
    run = value_and_gradients("cos_nospagg", implementation)
    (value, association), grads = run(source, target, labels)
    (expected, _), expected_grads = run(
        source.astype(jnp.float32), target.astype(jnp.float32), labels
    )
    assert value.dtype == association.values.dtype == jnp.float32
    assert_close(value, expected, 1e-6)
    for grad, expected in zip(grads, expected_grads, strict=True):
        assert grad.dtype == jnp.bfloat16
        # only the gradient is rounded, in the end, to 8 bits
        assert_close(grad.astype(jnp.float32), expected, 2**-8)


def test_blocked_memory_holds_no_matrix_of_all_pairs():
    pixels = 96 * 96
    shapes = [jax.ShapeDtypeStruct((1, 96, 96, 4), jnp.float32)] * 2 + [
        jax.ShapeDtypeStruct((1, 96, 96), jnp.int32)
    ]
    # "auto" must choose blocks: the grid is larger than PLCA's own, 92 x 92
    for metric in ("cosine", "negative_kl"):
        settings = dict(
            metric=metric, aggregated=True, contrast=True, implementation="auto", block_rows=128
        )
        loss = functools.partial(plca_loss, **settings)
        gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
        compiled = gradient.lower(*shapes).compile()
        assert compiled.memory_analysis().temp_size_in_bytes < 0.1 * 4 * pixels**2


def test_auto_stores_small_matrices_only():
    assert not row_blocks.uses_blocks("auto", 44 * 44, 44 * 44) and row_blocks.uses_blocks(
        "auto", 92 * 92, 92 * 92
    )
    assert row_blocks.uses_blocks("blocked", 2, 2) and not row_blocks.uses_blocks(
        "dense", 10**4, 10**4
    )


def test_a_similarity_rounded_above_its_maximum_is_no_probability_above_one():
    softmax = row_blocks.RowSoftmax(
        peak=jnp.ones(1),
        scale=jnp.full(1, 1e10),
        log_total=jnp.zeros(1),
        index=jnp.zeros(1, jnp.int32),
    )
    for axis in (0, 1):
        assert row_blocks.probabilities(jnp.full((1, 1), 1.0 + 1e-6), softmax, axis) == 1.0


def test_mistakes_are_named(unchecked_types):
    source, target = jnp.ones((2, 2, 3, 4)), jnp.ones((2, 3, 3, 4))
    labels = jnp.zeros((2, 2, 3), jnp.int32)
    with pytest.raises(ValueError, match="unknown metric 'cos'; known: cosine, negative_kl"):
        cycle_association(source, target, labels, metric="cos")
    with pytest.raises(
        ValueError, match="unknown implementation 'fast'; known: auto, dense, blocked"
    ):
        cycle_association(source, target, labels, metric="cosine", implementation="fast")
    for wrong in (
        (source, target[:1], labels),
        (source, target[..., :3], labels),
        (source, target, labels[:, :1]),
    ):
        with pytest.raises(ValueError, match="do not fit together"):
            cycle_association(*wrong, metric="cosine")
