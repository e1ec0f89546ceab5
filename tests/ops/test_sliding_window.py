"""Sliding windows: mmsegmentation's (sota_slide.npz), and what is asked of their settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import channels_last
from ml_collections import ConfigDict

from dajax.errors import UserError
from dajax.ops import sliding_window
from dajax.ops.resize import resize_bilinear
from dajax.ops.sliding_window import Window, places, slide


def cases(arrays):
    return sorted({name.partition("_")[0] for name in arrays})


def test_windows_and_the_mean_of_their_logits_are_mmsegmentations(golden):
    arrays = golden("sota_slide")[""]
    for case in cases(arrays):
        found = {name: arrays[f"{case}_{name}"] for name in ("image", "linear", "out")}
        crop_h, crop_w, stride_h, stride_w = arrays[f"{case}_crop_stride"].tolist()
        height, width = found["image"].shape[2:]
        boxes = [
            (top, min(top + crop_h, height), left, min(left + crop_w, width))
            for top in places(height, crop_h, stride_h)
            for left in places(width, crop_w, stride_w)
        ]
        assert boxes == [tuple(box) for box in arrays[f"{case}_boxes_y1y2x1x2"].tolist()]

        def network(images, linear=found["linear"]):
            """The file's: a product with every pixel, and a ramp over the window."""
            h, w = images.shape[1:3]
            ramp = jnp.outer(jnp.linspace(0.0, 1.0, h), jnp.linspace(0.0, 2.0, w))
            logits = jnp.einsum("nhwc,kc->nhwk", images, jnp.asarray(linear, jnp.float32))
            return logits + ramp[None, :, :, None]

        window = Window((crop_h, crop_w), (stride_h, stride_w))
        scores = slide(network, channels_last(found["image"]), window)
        expected = np.moveaxis(found["out"], 1, -1)
        np.testing.assert_allclose(scores, expected, atol=1e-5 * np.abs(expected).max())


IMAGES = jax.random.normal(jax.random.key(0), (2, 12, 20, 3))


def coarse(images):
    """Logits at stride 4 that differ from place to place."""
    return images[:, ::4, ::4] * 3.0


@pytest.mark.parametrize("align_corners", [True, False])
def test_one_window_of_the_images_size_is_a_resize_to_it(align_corners):
    window = Window((12, 20), (12, 20), align_corners=align_corners)
    expected = resize_bilinear(coarse(IMAGES), (12, 20), align_corners=align_corners)
    np.testing.assert_allclose(slide(coarse, IMAGES, window), expected, rtol=1e-6)
    larger = window._replace(crop_hw=(99, 99), stride_hw=(99, 99))
    np.testing.assert_array_equal(slide(coarse, IMAGES, larger), slide(coarse, IMAGES, window))


def test_probabilities_are_averaged_where_that_is_asked_for():
    """Two windows of 12 columns on 20: columns 8 to 11 are in both."""
    parts = [
        jax.nn.softmax(resize_bilinear(coarse(IMAGES[:, :, left : left + 12]), (12, 12)))
        for left in (0, 8)
    ]
    found = jax.nn.softmax(slide(coarse, IMAGES, Window((12, 12), (12, 8), "softmax")))
    np.testing.assert_allclose(found[:, :, :8], parts[0][:, :, :8], rtol=2e-6)
    np.testing.assert_allclose(
        found[:, :, 8:12], (parts[0][:, :, 8:] + parts[1][:, :, :4]) / 2, rtol=2e-6
    )
    certain = slide(lambda x: coarse(x) * 1e6, IMAGES, Window((12, 12), (12, 8), "softmax"))
    assert np.isfinite(certain).all(), "a probability of 0 has no infinite logit"


def test_the_network_is_compiled_once_for_all_windows():
    traces = []

    def network(images):
        traces.append(images.shape)
        return coarse(images)

    jax.jit(lambda x: slide(network, x, Window((4, 8), (2, 4))))(IMAGES)
    assert set(traces) == {(2, 4, 8, 3)} and len(traces) <= 3, "5 x 4 windows"


def evaluation(alpha=0.0, **window):
    return ConfigDict(
        dict(
            window=dict(crop=(), stride=(), average="logits") | window,
            align_corners=False,
            aggregation_alpha=alpha,
        )
    )


def test_settings_become_a_window_or_none():
    assert sliding_window.from_config(evaluation(0.5), (64, 128)) is None
    found = sliding_window.from_config(evaluation(crop=(64, 64), stride=(64, 32)), (64, 128))
    assert found == Window((64, 64), (64, 32), "logits", False)


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(crop=(64,), stride=(32, 32)), r"window.crop=\(64,\), .*expected \(height, width\)"),
        (dict(crop=(64, 64)), r"window.stride=\(\): expected"),
        (
            dict(crop=(96, 64), stride=(8, 8)),
            r"window.crop=\(96, 64\) is larger than .*\(64, 128\)",
        ),
        (dict(crop=(64, 64), stride=(64, 65)), r"stride=\(64, 65\) leaves gaps"),
        (dict(average="mean"), "window.average='mean': unknown; known: logits, softmax"),
        (
            dict(alpha=0.5, crop=(64, 64), stride=(32, 32)),
            r"aggregation_alpha=0.5 aggregates over a whole image, and .*crop=\(64, 64\)",
        ),
    ],
)
def test_settings_that_cannot_be_are_one_line(settings, message):
    with pytest.raises(UserError, match=message) as error:
        sliding_window.from_config(evaluation(**settings), (64, 128))
    assert "\n" not in str(error.value)
