"""What methods minimise of a segmenter's own predictions: ADVENT's, MaxSquare's and FDA's, against
their authors' code and by hand.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close, assert_value
from golden_arrays import between, channels_first, channels_last, everywhere, ints, names_in
from ml_collections import ConfigDict

from dajax.losses.adversarial import SOURCE_LABEL, TARGET_LABEL, discriminator_map
from dajax.losses.entropy import (
    TARGET_LOSSES,
    entropy_map,
    image_weights,
    information_map,
    squares_map,
    target_map,
)
from dajax.losses.segmentation import cross_entropy_map, valid_pixels
from dajax.models.apply import discriminate
from dajax.ops.resize import resize_bilinear
from dajax.parallel import masked_mean

TOLERANCE = 1e-4  # tests/golden/README.md, of scalars, maps and gradients in float32
SETTINGS = {kind: dict.fromkeys(needs, 0.2) for kind, needs in TARGET_LOSSES.items()}


def loss_of(kind, **settings):
    """f(logits) -> mean of the map over all pixels, as entropy_minimization takes it."""
    config = ConfigDict(dict(kind=kind, **settings))

    def loss(logits):
        values = target_map(logits, config)
        return masked_mean(values, everywhere(values))

    return loss


def assert_golden(loss, logits, value, grad):
    found, found_grad = jax.jit(jax.value_and_grad(loss))(channels_last(logits))
    assert_value(found, value, TOLERANCE)
    assert_close(channels_first(found_grad), grad, TOLERANCE)


@pytest.mark.parametrize("tail", ["", "_saturated"])
def test_minent_and_its_map_are_advents(golden, tail):
    """Also where probabilities are 0 and 1."""
    case = golden("tier2_advent")[""]
    logits = case["logits_saturated" if tail else "logits_target"]
    value, grad = case[f"minent_loss{tail}"], case[f"minent_grad{tail}"]
    assert_golden(loss_of("entropy"), logits, value, grad)
    if not tail:
        found = channels_first(information_map(channels_last(logits)))
        assert_close(found, case["entropy_map"], TOLERANCE)


def test_the_source_loss_is_advents(golden):
    case = golden("tier2_advent")[""]
    labels = ints(case["label"])
    valid = valid_pixels(labels, jnp.ones(len(labels), bool))

    def loss(logits):
        return masked_mean(cross_entropy_map(logits, labels), valid)

    assert_golden(loss, case["logits_source"], case["ce_loss"], case["ce_grad"])


def test_the_adversary_on_information_maps_is_advents(golden):
    case = golden("tier2_advent")[""]
    arrays = [case[f"d_param_{i}"] for i in range(10)]
    names = ("conv1", "conv2", "conv3", "conv4", "classifier")

    def as_params(arrays):
        kernels = (jnp.asarray(np.transpose(x, (2, 3, 1, 0)), jnp.float32) for x in arrays[::2])
        biases = (jnp.asarray(x, jnp.float32) for x in arrays[1::2])
        pairs = zip(kernels, biases, strict=True)
        return {
            name: dict(kernel=kernel, bias=bias)
            for name, (kernel, bias) in zip(names, pairs, strict=True)
        }

    params, width = as_params(arrays), arrays[0].shape[0]

    def judged(params, logits, label):
        values = discriminator_map(
            discriminate(params, information_map(logits), width=width), label, "vanilla"
        )
        return masked_mean(values, everywhere(values))

    target, source = (channels_last(case[f"logits_{key}"]) for key in ("target", "source"))
    seen = discriminate(params, information_map(target), width=width)
    assert_close(seen, case["d_out_target"][:, 0], TOLERANCE)
    fooled, grad = jax.jit(jax.value_and_grad(lambda logits: judged(params, logits, SOURCE_LABEL)))(
        target
    )
    assert_value(fooled, case["adv_loss"], TOLERANCE)
    assert_close(channels_first(grad), case["adv_grad_logits"], TOLERANCE)

    def discriminating(params):
        pair = judged(params, source, SOURCE_LABEL), judged(params, target, TARGET_LABEL)
        return 0.5 * sum(pair)

    value, grads = jax.jit(jax.value_and_grad(discriminating))(params)
    assert_value(value, case["d_loss"], TOLERANCE)
    expected = as_params([case[f"d_grad_{i}"] for i in range(10)])
    for name in names:
        for leaf in ("kernel", "bias"):
            assert_close(grads[name][leaf], expected[name][leaf], TOLERANCE, err_msg=name)


KINDS = {
    "maxsquare": "max_square",
    "iw_maxsquare": "image_weighted_max_square",
    "iw_entropy": "image_weighted_entropy",
}


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in between(names_in("tier2_maxsquare"), suffix="_loss")
        if name.partition("_ratio_")[0] in KINDS
    ],
)
def test_max_square_and_image_weights_are_the_authors(golden, name):
    """Images one by one, as their code runs; here all at once. The ratio is their 0.2, or named."""
    case = golden("tier2_maxsquare")[""]
    kind, _, ratio = name.partition("_ratio_")
    settings = {} if kind == "maxsquare" else {"ratio": float(ratio.replace("_", ".") or 0.2)}
    loss = loss_of(KINDS[kind], **settings)
    assert_golden(loss, case["logits"], case[f"{name}_loss"], case[f"{name}_grad"])


def test_max_squares_entropy_is_the_mean_over_classes_too(golden):
    case = golden("tier2_maxsquare")[""]

    def loss(logits):
        return entropy_map(logits).mean() / int(case["K"])

    assert_golden(loss, case["logits"], case["entropy_loss"], case["entropy_grad"])


@pytest.mark.parametrize("name", between(names_in("tier2_fda"), "entropy_loss_ita_"))
def test_robust_entropy_is_fdas(golden, name):
    case = golden("tier2_fda")[""]
    loss = loss_of("robust_entropy", eta=float(name.replace("_", ".")))
    value, grad = case[f"entropy_loss_ita_{name}"], case[f"entropy_grad_ita_{name}"]
    assert_golden(loss, case["logits"], value, grad)


def test_fdas_source_loss_is_of_up_sampled_logits(golden):
    case = golden("tier2_fda")[""]
    labels = ints(case["label"])
    valid = valid_pixels(labels, jnp.ones(len(labels), bool))

    def loss(logits):
        resized = resize_bilinear(logits, labels.shape[1:])
        return masked_mean(cross_entropy_map(resized, labels), valid)

    assert_golden(loss, case["logits"], case["seg_loss"], case["seg_grad"])


def test_by_hand():
    """Two pixels of two classes: p = (1/4, 3/4) and (1/2, 1/2)."""
    logits = jnp.log(jnp.asarray([[[[0.25, 0.75], [0.5, 0.5]]]]))
    entropy = [-0.25 * np.log2(0.25) - 0.75 * np.log2(0.75), 1.0]

    def found(kind, **settings):
        return np.asarray(target_map(logits, ConfigDict(dict(kind=kind, **settings))))[0, 0]

    np.testing.assert_allclose(found("entropy"), entropy, rtol=1e-6)
    np.testing.assert_allclose(found("max_square"), [-0.625 / 4, -0.5 / 4], rtol=1e-6)
    expected = (np.square(entropy) + 1e-8) ** 1.5
    np.testing.assert_allclose(found("robust_entropy", eta=1.5), expected, rtol=1e-6)
    # class 1 and, of equal ones, class 0: half of the image each
    expected = 2**0.5 * np.array([-0.625 / 2, -0.5 / 2])
    np.testing.assert_allclose(found("image_weighted_max_square", ratio=0.5), expected, rtol=1e-6)


def test_image_weights_are_of_each_image_and_without_a_gradient():
    logits = jnp.zeros((2, 1, 4, 3)).at[0, 0, 0, 1].set(5.0).at[1, :, :, 2].set(5.0)
    weights = image_weights(logits, ratio=1.0)
    np.testing.assert_allclose(weights[:, 0], [[4, 4 / 3, 4 / 3, 4 / 3], [1, 1, 1, 1]], rtol=1e-6)
    grad = jax.grad(lambda logits: image_weights(logits, ratio=0.2).sum())(logits)
    assert not np.asarray(grad).any()
    np.testing.assert_array_equal(image_weights(logits, ratio=0.0), np.ones((2, 1, 4)))


@pytest.mark.parametrize("kind", TARGET_LOSSES)
def test_sure_and_undecided_pixels_and_empty_batches_are_finite(kind):
    logits = jnp.asarray([[[[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]]]])
    config = ConfigDict(dict(kind=kind, **SETTINGS[kind]))
    value, grad = jax.value_and_grad(lambda z: target_map(z, config).sum())(logits)
    assert np.isfinite(value) and np.isfinite(grad).all()
    assert target_map(logits[:0], config).shape == (0, 1, 2)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown target loss 'x'; known: entropy, max_square"):
        target_map(jnp.zeros((1, 1, 1, 2)), ConfigDict(dict(kind="x")))


def test_squares_are_between_a_share_of_each_class_and_one():
    logits = jnp.asarray([[[[0.0, 0.0], [100.0, 0.0]]]])
    np.testing.assert_allclose(squares_map(logits)[0, 0], [0.5, 1.0], rtol=1e-6)
