"""Colour jitter against kornia 0.5.8 (sota_color_jitter.npz), torchvision's by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close
from golden_arrays import channels_first, channels_last
from ml_collections import ConfigDict

from dajax.methods.segmentation import _strong_view as strong_view
from dajax.ops import color_ops
from dajax.recipes.base import common as base

# Hue and saturation of float32 numbers; the authors' arrays are float64 but for kornia's factors.
TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("sota_color_jitter")[""]


def test_hue_saturation_and_value_are_kornias_there_and_back(arrays):
    images = channels_last(arrays["images01"])
    hsv = jax.jit(color_ops.rgb_to_hsv)(images)
    assert_close(channels_first(hsv), arrays["hsv"], TOLERANCE)
    back = jax.jit(color_ops.hsv_to_rgb)(hsv)
    assert_close(channels_first(back), arrays["hsv_back"], TOLERANCE)


@pytest.mark.parametrize("operation", color_ops.OPERATIONS)
def test_every_operation_is_kornias(arrays, operation):
    names = [key for key in arrays if key.startswith(operation) and not key.endswith("_factor")]
    assert len(names) > 1
    run = jax.jit(
        jax.vmap(lambda image, factor: color_ops.adjust(image, operation, factor, kind="kornia"))
    )
    images = channels_last(arrays["images01"])
    for name in names:
        factors = jnp.full(len(images), arrays[f"{name}_factor"], jnp.float32)
        found = channels_first(run(images, factors))
        assert_close(found, arrays[name], TOLERANCE, err_msg=name)


def imagenet(channels="rgb"):
    """A stage's settings with both kinds of change off, for images normalised as DAFormer has
    them.
    """
    return ConfigDict(
        dict(
            color_jitter=dict(kind="kornia", probability=1.0),
            blur=dict(probability=0.0),
            normalisation=dict(
                channels=channels, divisor=255.0, mean=base.IMAGENET_MEAN, std=base.IMAGENET_STD
            ),
        )
    )


def drawn(factors, order):
    """A Strong that jitters, of factors [4, N] and one order for all images."""
    factors = jnp.asarray(factors.T, jnp.float32)
    order = jnp.broadcast_to(jnp.asarray(order, jnp.int32)[None], factors.shape)
    return strong_view.Strong(
        jnp.array(True), jnp.array(False), factors, order, jnp.ones(len(factors))
    )


@pytest.mark.parametrize("channels", strong_view.CHANNELS)
def test_the_whole_jitter_of_normalised_images_is_daformers(arrays, channels):
    """In four orders. Of images in the order BGR the same, with mean and deviation in theirs."""
    config, cases = imagenet(channels), [key for key in arrays if key.endswith("_order")]
    assert len(cases) > 1
    flip = slice(None, None, -1 if channels == "bgr" else 1)
    for key in ("mean", "std"):
        config.normalisation[key] = tuple(config.normalisation[key])[flip]
    run = jax.jit(lambda images, strong: strong_view.strong_view(images, strong, config))
    for case in (key.removesuffix("_order") for key in cases):
        images = channels_last(arrays[f"{case}_normalised_in"])[..., flip]
        strong = drawn(arrays[f"{case}_factors"], arrays[f"{case}_order"])
        found = channels_first(run(images, strong)[..., flip])
        assert_close(found, arrays[f"{case}_normalised_out"], 5e-6, err_msg=case)


@functools.partial(jax.jit, static_argnames="one_call")
def draw(key, rows, one_call=False):
    """strong_view.draw with DAFormer's strengths."""
    config = ConfigDict(
        dict(
            color_jitter=dict(dict.fromkeys(color_ops.OPERATIONS, 0.2), probability=0.8),
            blur=dict(probability=0.5, sigma=(0.15, 1.15)),
            strong_for="batch",
        )
    )
    return strong_view.draw(key, rows, config, one_call=one_call)


def test_factors_are_drawn_from_kornias_ranges(arrays):
    """The least and the greatest of 4,000 draws there, of the same number here."""
    strength = dict.fromkeys(color_ops.OPERATIONS, 0.2)
    expected = np.array(color_ops.factor_ranges(**strength))
    np.testing.assert_allclose(arrays["ranges"], expected, atol=2e-3)
    strong = jax.device_get(draw(jax.random.key(0), jnp.arange(4000, dtype=jnp.int32)))
    for place, ends in enumerate((np.min, np.max)):
        np.testing.assert_allclose(ends(strong.factors, 0), arrays["ranges"][:, place], atol=2e-3)
    np.testing.assert_allclose([strong.sigma.min(), strong.sigma.max()], [0.15, 1.15], atol=2e-3)
    assert (np.sort(strong.order, 1) == np.arange(4)[None]).all()
    firsts = np.bincount(strong.order[:, 0], minlength=4) / 4000
    np.testing.assert_allclose(firsts, 0.25, atol=0.04)  # five deviations


def test_what_is_drawn_for_one_call_is_the_same_for_all_images_but_for_the_factors():
    rows = jnp.arange(6, dtype=jnp.int32)
    strong = jax.device_get(draw(jax.random.key(1), rows, one_call=True))
    assert (strong.order == strong.order[:1]).all() and (strong.sigma == strong.sigma[0]).all()
    assert len(np.unique(strong.factors[:, 0])) == 6
    again = draw(jax.random.key(1), rows[3:5], one_call=True)
    np.testing.assert_array_equal(again.factors, strong.factors[3:5])
    np.testing.assert_array_equal(again.sigma, strong.sigma[3:5])


def test_gates_open_as_often_as_the_probability_says():
    rows = jnp.arange(1, dtype=jnp.int32)
    keys = jax.random.split(jax.random.key(2), 4000)
    gates = jax.jit(jax.vmap(lambda key: draw(key, rows)[:2]))(keys)
    shares = [float(np.mean(gate)) for gate in gates]
    np.testing.assert_allclose(shares, [0.8, 0.5], atol=0.04)  # five deviations


def test_torchvisions_operations_by_hand():
    """A dark red and a light grey pixel; factors as those of transforms.functional."""
    image = jnp.array([[[0.4, 0.2, 0.0], [0.6, 0.6, 0.6]]])

    def run(operation, factor):
        return color_ops.adjust(image, operation, jnp.float32(factor), kind="torchvision")[0]

    np.testing.assert_allclose(
        run("brightness", 1.5), [[0.6, 0.3, 0.0], [0.9, 0.9, 0.9]], rtol=1e-6
    )
    grey = np.array([0.2989 * 0.4 + 0.587 * 0.2, 0.6 * (0.2989 + 0.587 + 0.114)])
    np.testing.assert_allclose(
        run("contrast", 0.5), 0.5 * np.asarray(image[0]) + 0.5 * grey.mean(), rtol=1e-6
    )
    np.testing.assert_allclose(run("saturation", 0.0), np.stack([grey] * 3, -1), rtol=1e-5)
    # a third of a turn: red becomes green
    np.testing.assert_allclose(
        run("hue", 1 / 3), [[0.0, 0.4, 0.2], [0.6, 0.6, 0.6]], rtol=1e-5, atol=1e-6
    )


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown colour jitter 'pil'; known: kornia, torchvision"):
        color_ops.color_jitter(
            jnp.zeros((1, 2, 2, 3)), jnp.ones((1, 4)), jnp.zeros((1, 4), jnp.int32), kind="pil"
        )
