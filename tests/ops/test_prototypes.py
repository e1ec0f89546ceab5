"""Class prototypes against SPCL's code and BiCL's formulas (spcl_proto_init, spcl_train_steps,
dass_formula), streamed, and on four devices.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import prototype_golden as pg
import pytest
from compare import assert_close, assert_value
from golden_arrays import channels_last, everywhere, ints

from dajax import parallel
from dajax.losses.prototype_contrast import prototype_contrast
from dajax.ops import prototypes as proto
from dajax.ops.prototypes import prototype_similarities
from dajax.ops.resize import resize_nearest_legacy
from dajax.ops.similarity import normalize
from dajax.parallel import masked_mean, total
from dajax.recipes import spcl as spcl_config


def source_of(case):
    """Unit features and correct labels on their grid."""
    features = channels_last(case["features"])
    labels = resize_nearest_legacy(ints(case["labels"]), features.shape[1:3])
    return normalize(features), proto.keep_correct(labels, channels_last(case["logits"]))


def streamed(features, labels, num_classes):
    """Prototypes of a set that comes image by image."""

    @jax.jit
    def add(carry, image, label):
        sums = proto.image_mean_sums(image, label, everywhere(label), num_classes)
        return proto.add(carry, sums)

    carry = proto.empty_totals(num_classes, features.shape[-1])
    for image, label in zip(features, labels, strict=True):
        carry = add(carry, image[None], label[None])
    return proto.class_means(*carry[:2])


def test_the_source_mask_is_spcls(golden):
    case = golden("spcl_proto_init")[""]
    np.testing.assert_array_equal(source_of(case)[1], case["mask"])


def test_initial_prototypes_are_spcls_and_do_not_depend_on_the_batch_size(golden):
    case = golden("spcl_proto_init")[""]
    features, labels = source_of(case)
    num_images, height, width = labels.shape
    num_classes = case["prototype"].shape[1]
    prototypes, known = streamed(features, labels, num_classes)
    assert_close(prototypes.T, case["prototype"], pg.VALUE_TOLERANCE)
    present = [(case["mask"] == k).any() for k in range(num_classes)]
    np.testing.assert_array_equal(known, present)
    sums = proto.image_mean_sums(features, labels, everywhere(labels), num_classes)
    np.testing.assert_allclose(proto.class_means(*sums)[0], prototypes, rtol=1e-6, atol=1e-7)
    # The authors' loader with two images a batch takes one mean over both of them; the last of an
    # odd number is alone.
    odd = num_images % 2
    features = jnp.pad(features, ((0, odd), (0, 0), (0, 0), (0, 0)))
    labels = jnp.pad(labels, ((0, odd), (0, 0), (0, 0)), constant_values=255)
    tall = len(labels) // 2, 2 * height, width
    pairs, _ = streamed(features.reshape(*tall, -1), labels.reshape(tall), num_classes)
    assert_close(pairs.T, case["prototype_loader_bs2"], pg.VALUE_TOLERANCE)


@pytest.mark.parametrize(
    "shrink_absent, name", [(True, "prototype"), (False, "prototype_keep_absent")]
)
def test_prototypes_move_as_in_spcls_iterations(golden, shrink_absent, name):
    case = golden("spcl_train_steps")[""]
    prototypes = jnp.asarray(case["prototype_init"].T, jnp.float32)
    settings = dict(
        decay=float(case["alpha"]),
        weight=float(case["lam"]),
        temperature=spcl_config.get_config("gta5_to_cityscapes,weights=none").spcl.temperature,
    )
    step = jax.jit(functools.partial(pg.spcl_iteration, shrink_absent=shrink_absent, **settings))
    assert len(case["loss_cl"]) > 1
    for t in range(len(case["loss_cl"])):
        source = {
            "features": channels_last(case["src_feat"][t]),
            "logits": channels_last(case["src_logits"][t]),
            "labels": ints(case["src_label"][t]),
        }
        target = {
            "features": channels_last(case["tgt_feat"][t]),
            "labels": ints(case["tgt_pseudo_label"][t]),
        }
        loss, terms, source_labels, target_labels, prototypes = step(prototypes, source, target)
        np.testing.assert_array_equal(source_labels, case["src_mask"][t])
        np.testing.assert_array_equal(target_labels, case["tgt_mask"][t])
        assert_close(prototypes.T, case[name][t], pg.VALUE_TOLERANCE)
        assert_value(terms["segmentation"], case["loss_seg"][t], pg.VALUE_TOLERANCE)
        if shrink_absent:  # the file's losses are of these prototypes
            for domain, short in (("source", "src"), ("target", "tgt")):
                expected = case[f"loss_cl_{short}"][t]
                pg.assert_contrast(terms[f"contrast_{domain}"], expected, len(prototypes))
            expected = case["loss_seg"][t] + case["loss_cl"][t]
            assert_value(loss, expected, pg.VALUE_TOLERANCE)


def test_moving_prototypes_and_the_bias_are_bicls(golden):
    case = golden("dass_formula")[""]
    previous = {
        d: (jnp.asarray(case[f"mu_{d}_prev"], jnp.float32), jnp.asarray(case[f"have_{d}_prev"]))
        for d in "ST"
    }
    bias = proto.domain_bias(*previous["S"], *previous["T"])
    assert_close(bias, case["xi"], pg.VALUE_TOLERANCE)
    found = {}
    for domain, labels in (("S", ints(case["y_S"])), ("T", ints(case["y_T"]))):
        features = channels_last(case[f"f_{domain}"])
        sums = proto.sums_and_counts(features, labels, everywhere(labels), len(bias))
        rho, present = found[domain] = proto.class_means(*sums)
        assert_close(rho, case[f"rho_{domain}"], pg.VALUE_TOLERANCE)
        np.testing.assert_array_equal(present, case[f"ok_{domain}"])
        moved, known = proto.move(*previous[domain], rho, present, decay=float(case["lam"]))
        assert_close(moved, case[f"mu_{domain}_new"], pg.VALUE_TOLERANCE)
        np.testing.assert_array_equal(known, case[f"have_{domain}_new"])
    rho, present = found["S"]
    assert_close(rho + bias, case["rho_S2T"], pg.VALUE_TOLERANCE)
    cosine = prototype_similarities(
        channels_last(case["f_T"]), rho + bias, present=present, normalize_prototypes=True
    )
    assert_close(cosine, case["sim_S2T"], 1e-6, unit=1.0)  # of a cosine


def test_means_by_hand_with_an_absent_class_and_pixels_that_do_not_count():
    features = jnp.asarray([[[[1.0, 2.0], [3.0, 4.0]], [[100.0, 100.0], [7.0, 8.0]]]])
    labels, mask = jnp.asarray([[[0, 0], [0, 255]]]), jnp.asarray([[[True, True], [False, True]]])
    means, present = proto.class_means(*proto.sums_and_counts(features, labels, mask, 3))
    np.testing.assert_array_equal(means, [[2.0, 3.0], [0.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(present, [True, False, False])


def test_an_absent_class_keeps_its_prototype_and_a_new_one_takes_the_batchs():
    old, known = jnp.asarray([[1.0], [2.0], [9.0]]), jnp.asarray([True, True, False])
    batch, present = jnp.asarray([[3.0], [0.0], [5.0]]), jnp.asarray([True, False, True])
    moved, now_known = proto.move(old, known, batch, present, decay=0.75)
    np.testing.assert_array_equal(moved, [[1.5], [2.0], [5.0]])
    assert now_known.all()
    np.testing.assert_array_equal(
        proto.move(old, known, batch, present, decay=0.75, shrink_absent=True)[0],
        [[1.5], [1.5], [5.0]],
    )
    grad = jax.grad(
        lambda old, batch: proto.move(old, known, batch, present, decay=0.75)[0].sum(),
        argnums=(0, 1),
    )(old, batch)
    assert not any(np.asarray(g).any() for g in grad)


def test_thousands_of_batches_add_up_like_one():
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(5000, 2, 3)).astype(np.float32) + 1.0
    start = proto.empty_totals(2, 3)
    end, _ = jax.jit(
        lambda parts: jax.lax.scan(
            lambda carry, part: (proto.add(carry, (part, jnp.ones(2))), None), start, parts
        )
    )(parts)
    exact = parts.astype(np.float64).sum(0)
    np.testing.assert_allclose(end[0], exact, rtol=2e-7)  # two roundings of float32
    plain = functools.reduce(lambda a, b: a + b, parts)
    assert np.abs(plain - exact).max() > 4 * np.abs(end[0] - exact).max(), (
        "the correction is worth its array"
    )
    assert jax.tree.map(jnp.shape, end) == jax.tree.map(jnp.shape, start) and (end[1] == 5000).all()


def test_a_soft_assignment_sums_to_one_and_leaves_absent_classes_out():
    features = jnp.asarray([[1.0, 0.0], [0.0, 0.0]])
    prototypes = jnp.asarray([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    present = jnp.asarray([True, True, False])
    found = proto.soft_assignment(
        features, prototypes, temperature=0.1, present=present, normalize_prototypes=True
    )
    np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(found[0], jax.nn.softmax(jnp.asarray([10.0, 0.0, -10.0])), rtol=1e-5)
    np.testing.assert_allclose(found[1, :2], 0.5, rtol=1e-4)  # 5e-5 is left for the absent class
    everything = functools.partial(
        proto.soft_assignment, temperature=0.1, normalize_prototypes=True
    )
    grads = jax.grad(lambda f, p: jnp.square(everything(f, p)).sum(), argnums=(0, 1))(
        features, jnp.zeros((3, 2))
    )
    assert all(np.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("labels", ["all ignored", "one class", "masked"])
def test_empty_masks_give_zeros_with_finite_gradients(labels):
    given = {
        "all ignored": jnp.full((2, 3, 3), 255),
        "one class": jnp.zeros((2, 3, 3), int),
        "masked": jnp.zeros((2, 3, 3), int),
    }[labels]
    mask = jnp.full((2, 3, 3), labels != "masked")

    def reach(features):
        per_image = proto.image_mean_sums(normalize(features), given, mask, 4)
        plain = proto.class_means(*proto.sums_and_counts(features, given, mask, 4))[0]
        return (
            jnp.square(proto.class_means(*per_image)[0]).sum() + jnp.square(normalize(plain)).sum()
        )

    value, grad = jax.jit(jax.value_and_grad(reach))(
        jnp.zeros((2, 3, 3, 5)).at[0, 0, 0, 0].set(1.0)
    )
    assert np.isfinite(value) and np.isfinite(grad).all()
    if labels != "one class":
        assert value == 0 and not np.asarray(grad).any()


def test_four_devices_have_the_prototypes_and_gradients_of_one():
    rng = np.random.default_rng(3)
    source, target = (jnp.asarray(rng.normal(size=(4, 5, 6, 7)), jnp.float32) for _ in range(2))
    # Sorted: most devices lack most classes.
    drawn = np.sort(rng.integers(0, 6, (4, 5, 6)), axis=None).reshape(4, 5, 6)
    source_labels = ints(drawn).at[0].set(255)
    target_labels = ints(rng.integers(0, 6, (4, 5, 6)))

    def prototypes(features, labels, axis_name):
        sums = proto.sums_and_counts(features, labels, everywhere(labels), 6)
        return proto.class_means(*total(sums, axis_name))

    def loss(source, target, source_labels, target_labels, axis_name=None):
        rho, present = prototypes(source, source_labels, axis_name)
        values, valid = prototype_contrast(
            target, rho, target_labels, temperature=0.1, present=present, normalize_prototypes=True
        )
        return masked_mean(values, valid, axis_name), rho

    step = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (value, rho), grads = step(source, target, source_labels, target_labels)
    split = (x.reshape(4, 1, *x.shape[1:]) for x in (source, target, source_labels, target_labels))
    (shares, on_each), split_grads = jax.pmap(
        functools.partial(step, axis_name=parallel.AXIS), axis_name=parallel.AXIS
    )(*split)
    np.testing.assert_allclose(shares.sum(), value, rtol=1e-6)
    for part in on_each:
        np.testing.assert_allclose(part, rho, rtol=1e-5, atol=1e-6)
    for grad, split_grad in zip(grads, split_grads, strict=True):
        assert_close(split_grad.reshape(grad.shape), grad, 1e-5)


def test_shapes_that_do_not_fit_are_named(unchecked_types):
    with pytest.raises(ValueError, match=r"features \(2, 3, 3, 5\), labels \(2, 6, 6\)"):
        proto.sums_and_counts(
            jnp.zeros((2, 3, 3, 5)), jnp.zeros((2, 6, 6), int), jnp.ones((2, 3, 3), bool), 4
        )
