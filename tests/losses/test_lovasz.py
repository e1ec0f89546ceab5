"""Lovász-softmax against PLCA's code (plca_losses.npz, plca_lovasz_2rank.npz), by hand, and where
pixels or classes are missing.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_value
from golden_arrays import channels_first, channels_last, ints

from dajax import parallel
from dajax.losses.lovasz import lovasz_softmax
from dajax.losses.segmentation import cross_entropy_map, valid_pixels

# tests/golden/README.md: float32 losses relative, gradients of the array's max
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 2e-6, 2e-5


def everything(labels):
    return valid_pixels(labels, jnp.ones(labels.shape[0], bool))


def of_probabilities(**options):
    """(probabilities, labels) -> value and gradient, compiled."""
    return jax.jit(
        jax.value_and_grad(
            lambda p, labels: lovasz_softmax(p, labels, everything(labels), **options)
        )
    )


def of_logits(**options):
    return jax.jit(
        jax.value_and_grad(
            lambda x, labels: lovasz_softmax(
                jax.nn.softmax(x), labels, everything(labels), **options
            )
        )
    )


def golden_inputs(golden, labels="labels"):
    arrays = golden("plca_losses")[""]
    return channels_last(arrays["logits"]), ints(arrays[labels])


@pytest.mark.parametrize(
    "case, options, labels, gradients",
    [
        ("lovasz", {}, "labels", ("grad_logits", "grad_probs")),
        ("lovasz_one_class", {}, "labels_one", ("grad_logits",)),
        ("lovasz_per_image", dict(per_image=True), "labels", ("grad_logits",)),
        ("lovasz_all", dict(classes="all"), "labels", ()),
    ],
)
def test_value_and_gradient_are_the_authors(golden, case, options, labels, gradients):
    """`gradients`: those that the file has of the case."""
    expected = golden("plca_losses")[case]
    logits, labels = golden_inputs(golden, labels)
    value, grad = of_logits(**options)(logits, labels)
    assert_value(value, expected["loss"], LOSS_TOLERANCE)
    if "grad_logits" in gradients:
        assert_close(channels_first(grad), expected["grad_logits"], GRADIENT_TOLERANCE)
    if "grad_probs" in gradients:
        _, grad = of_probabilities(**options)(jax.nn.softmax(logits), labels)
        assert_close(channels_first(grad), expected["grad_probs"], GRADIENT_TOLERANCE)


def test_the_cross_entropy_beside_it_is_the_authors(golden):
    expected = golden("plca_losses")["ce"]
    logits, labels = golden_inputs(golden)
    value, grad = jax.jit(
        jax.value_and_grad(
            lambda x: parallel.masked_mean(cross_entropy_map(x, labels), everything(labels))
        )
    )(logits)
    assert_value(value, expected["loss"], LOSS_TOLERANCE)
    assert_close(channels_first(grad), expected["grad_logits"], GRADIENT_TOLERANCE)


def test_the_increments_are_the_authors(golden):
    """With errors that descend from pixel to pixel they are the size of the gradient, times the two
    classes that share the mean.
    """
    expected = golden("plca_losses")["lovasz_grad"]
    is_class = expected["gt_sorted"] > 0
    errors = np.linspace(0.95, 0.05, is_class.size)
    probability = np.where(is_class, 1 - errors, errors)
    both = np.stack([1 - probability, probability], -1)  # [P, 2]
    probabilities = jnp.asarray(both, jnp.float32)[None, None]
    _, grad = of_probabilities()(probabilities, ints(is_class)[None, None])
    increments = np.where(is_class, -2.0, 2.0) * np.asarray(grad)[0, 0, :, 1]
    assert_close(increments, expected["out"], GRADIENT_TOLERANCE)


@pytest.mark.parametrize("case", ["same", "diff"])
def test_two_devices_have_the_gradient_of_the_whole_batch(golden, case):
    """Where both ranks have the same classes, PLCA's code agrees. Where they do not, it differs by
    design: a rank leaves out the classes that it lacks itself, and divides by fewer. Ours is the
    loss of the whole batch in both cases.
    """
    arrays, expected = golden("plca_lovasz_2rank")[""], golden("plca_lovasz_2rank")[case]
    logits = channels_last(arrays["logits"])  # [2, N, H, W, K]
    labels = ints(arrays[f"labels_{case}"])  # [2, N, H, W]

    def loss(logits, labels):
        batch = (jax.nn.softmax(logits), labels, everything(labels))
        gathered = [parallel.gather(x, parallel.AXIS) for x in batch]
        return parallel.share(lovasz_softmax(*gathered), parallel.AXIS)

    shares, grads = jax.pmap(
        jax.value_and_grad(loss), axis_name=parallel.AXIS, devices=jax.devices()[: len(labels)]
    )(logits, labels)
    # tests/golden/README.md: the file is float32, 1e-5
    assert_value(shares.sum(), expected["loss_whole_batch"], 1e-5)
    whole = expected["grad_whole_batch"]
    assert_close(channels_first(grads), whole, 1e-5)
    # DDP's mean over ranks
    authors = np.stack([expected[f"grad_logits_rank{rank}"] for rank in range(len(labels))])
    authors /= len(labels)
    deviation = np.abs(authors - whole).max() / np.abs(whole).max()
    assert deviation < 1e-5 if case == "same" else deviation > 1e-3, deviation


HAND_PROBABILITY = np.array([[[0.2, 0.6], [0.7, 0.9]]])  # of class 1
HAND_LABELS = jnp.asarray([[[0, 0], [1, 255]]])


def test_two_by_two_by_hand():
    """Class 0, two pixels: errors .6 (its own), .3 (the other's), .2 (its own) at J = 1/2, 2/3, 1:
    loss .3 + .05 + .2 / 3.

    Class 1, one pixel: errors .6 (another's), .3 (its own), .2 at J = 1/2, 1, 1: loss .3 + .15.
    """
    probabilities = jnp.asarray(np.stack([1 - HAND_PROBABILITY, HAND_PROBABILITY], -1), jnp.float32)
    expected = np.array([[[[-1 / 3, 0], [-1 / 2, 1 / 2]], [[1 / 6, -1 / 2], [0, 0]]]]) / 2
    value, grad = of_probabilities()(probabilities, HAND_LABELS)
    np.testing.assert_allclose(value, (0.3 + 0.05 + 0.2 / 3 + 0.45) / 2, rtol=1e-6)
    np.testing.assert_allclose(grad, expected, atol=1e-6)
    eager = jax.grad(lambda p: lovasz_softmax(p, HAND_LABELS, everything(HAND_LABELS)))(
        probabilities
    )
    np.testing.assert_allclose(eager, expected, atol=1e-6)
    assert value.dtype == grad.dtype == jnp.float32, "no 64-bit type comes out"


def test_many_pixels_are_as_in_float64():
    """The definition, with differences of J, in numpy; float32 differences of J would be off by
    6e-8 of increments of 1e-4.
    """
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(5, 0.5), (2, 90, 70)).astype(np.float32)
    labels = rng.choice([0, 1, 2, 4, 255], (2, 90, 70))
    flat, flat_labels = probabilities.reshape(-1, 5).astype(float), labels.ravel()
    loss, expected = 0.0, np.zeros((labels.size, 5))
    for k in (0, 1, 2, 4):
        pixels = np.flatnonzero(flat_labels != 255)
        pixels = pixels[np.argsort(-np.abs((flat_labels == k) - flat[:, k])[pixels], kind="stable")]
        is_class = flat_labels[pixels] == k
        jaccard = 1 - (is_class.sum() - is_class.cumsum()) / (is_class.sum() + (~is_class).cumsum())
        increments = np.diff(jaccard, prepend=0.0)
        loss += increments @ np.abs(is_class - flat[pixels, k]) / 4
        expected[pixels, k] = np.where(is_class, -increments, increments) / 4
    value, grad = of_probabilities()(jnp.asarray(probabilities), jnp.asarray(labels, jnp.int32))
    assert_value(value, loss, LOSS_TOLERANCE)
    assert_close(grad, expected.reshape(grad.shape), GRADIENT_TOLERANCE)


@pytest.mark.parametrize(
    "options", [{}, dict(classes="all"), dict(per_image=True), dict(classes="all", per_image=True)]
)
def test_a_batch_without_valid_pixels_costs_nothing(options):
    value, grad = of_logits(**options)(
        jax.random.normal(jax.random.key(0), (2, 3, 4, 5)), jnp.full((2, 3, 4), 255)
    )
    assert value == 0 and not np.asarray(grad).any()


def test_a_padded_image_changes_nothing_pooled_or_per_image():
    probabilities = jax.nn.softmax(jax.random.normal(jax.random.key(0), (2, 6, 5, 4)))
    labels = jax.random.randint(jax.random.key(1), (2, 6, 5), 0, 4)
    for per_image in (False, True):
        loss = functools.partial(lovasz_softmax, per_image=per_image)
        alone = loss(probabilities[:1], labels[:1], jnp.ones((1, 6, 5), bool))
        padded, grad = jax.value_and_grad(loss)(
            probabilities, labels, valid_pixels(labels, jnp.asarray([True, False]))
        )
        np.testing.assert_allclose(padded, alone, rtol=1e-6)
        assert np.asarray(grad)[0].any() and not np.asarray(grad)[1].any()


def test_an_absent_class_takes_no_part_or_costs_its_largest_probability():
    probabilities = jnp.asarray(
        [[[[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], [[0.1, 0.6, 0.3], [0.2, 0.8, 0.0]]]]
    )
    labels = jnp.asarray([[[0, 0], [1, 1]]])
    present, grad = of_probabilities()(probabilities, labels)
    assert not np.asarray(grad)[..., 2].any() and np.asarray(grad)[..., :2].any()
    value, grad = of_probabilities(classes="all")(probabilities, labels)
    np.testing.assert_allclose(value, (2 * present + 0.4) / 3, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(grad)[..., 2], [[[0, 1 / 3], [0, 0]]], rtol=1e-6)


def test_identical_probabilities_share_the_whole_of_j():
    """All errors are 1/2 and J goes from 0 to 1: the loss is 1/2, and the increments of either
    class sum to 1 in any order.
    """
    labels = jnp.asarray([[[0, 1, 1], [255, 0, 1]]])
    value, grad = of_probabilities()(jnp.full((1, 2, 3, 2), 0.5), labels)
    np.testing.assert_allclose(value, 0.5, rtol=1e-6)
    np.testing.assert_allclose(np.abs(grad).sum((0, 1, 2)), [0.5, 0.5], rtol=1e-6)
    assert not np.asarray(grad)[0, 1, 0].any(), (
        "the void pixel has the same probabilities and no gradient"
    )


@pytest.mark.parametrize("sure_of, expected", [(0, 0.0), (1, 1.0)])
def test_saturated_probabilities_are_exact_with_finite_gradients(sure_of, expected):
    labels = jnp.asarray([[[0, 1], [1, 0]]])
    value, grad = of_logits()(400.0 * jax.nn.one_hot((labels + sure_of) % 2, 2), labels)
    assert value == expected and np.isfinite(grad).all()


def test_mistakes_are_named(unchecked_types):
    probabilities, labels = jnp.ones((1, 2, 2, 3)), jnp.zeros((1, 2, 2), jnp.int32)
    with pytest.raises(ValueError, match="unknown classes 'some'; known: present, all"):
        lovasz_softmax(probabilities, labels, labels == 0, classes="some")
    with pytest.raises(
        ValueError,
        match=r"probabilities \(1, 2, 2, 3\), labels \(1, 2\) and valid \(1, 2, 2\) must agree",
    ):
        lovasz_softmax(probabilities, labels[:, 0], labels == 0)
