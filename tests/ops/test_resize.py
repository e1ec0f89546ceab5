"""The two resizes against torch's numbers (clan_upsample.npz, spcl_resize.npz), by hand, and what
they must not be.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close
from golden_arrays import between, channels_first, channels_last, names_in

from dajax.ops.resize import largest_class, resize_bilinear, resize_nearest_legacy

TOLERANCE = 1e-6  # float32 weights, and sums of up to 80 terms


def test_aligned_corners_and_their_gradient_are_torchs(golden):
    """Up, identity, from a single pixel, down."""
    arrays = golden("clan_upsample")[""]
    cases = [name.removesuffix("_in") for name in arrays if name.endswith("_in")]
    assert len(cases) > 1
    for case in cases:
        x, cotangent = (channels_last(arrays[f"{case}_{name}"]) for name in ("in", "cotangent"))
        y, vjp = jax.vjp(lambda x, hw=cotangent.shape[1:3]: resize_bilinear(x, hw), x)
        assert_close(channels_first(y), arrays[f"{case}_out"], TOLERANCE, err_msg=case)
        (grad,) = vjp(cotangent)
        assert_close(channels_first(grad), arrays[f"{case}_grad"], TOLERANCE, err_msg=case)


def test_two_by_two_to_three_by_three_by_hand():
    x = jnp.array([[0.0, 2.0], [4.0, 10.0]]).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(
        jax.jit(resize_bilinear, static_argnums=1)(x, (3, 3))[0, ..., 0],
        [[0, 1, 2], [2, 4, 6], [4, 7, 10]],
    )


def test_its_own_size_is_returned_as_it_is_and_the_dtype_stays():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 2)).astype(jnp.bfloat16)
    np.testing.assert_array_equal(resize_bilinear(x, (3, 5)), x)
    assert resize_bilinear(x, (6, 5)).dtype == jnp.bfloat16


def test_legacy_nearest_is_torchs_and_bilinear_spcls(golden):
    arrays = golden("spcl_resize")[""]
    label, expected = arrays["label"], arrays["label_nearest"]
    found = resize_nearest_legacy(jnp.asarray(label), expected.shape[1:])
    np.testing.assert_array_equal(found, expected)
    half_pixel = jax.image.resize(jnp.asarray(label), expected.shape, "nearest")
    assert (half_pixel != expected).mean() > 0.5, "the usual nearest must differ here"
    expected = arrays["logits_bilinear_align_corners"]
    found = resize_bilinear(channels_last(arrays["logits"]), expected.shape[2:])
    assert_close(channels_first(found), expected, TOLERANCE)


def test_legacy_nearest_takes_channels_and_doubles_pixels():
    x = jnp.arange(8, dtype=jnp.uint8).reshape(1, 2, 2, 2)
    np.testing.assert_array_equal(
        resize_nearest_legacy(x, (4, 2))[0, :, 1], [[2, 3], [2, 3], [6, 7], [6, 7]]
    )
    assert resize_nearest_legacy(x, (3, 3)).dtype == jnp.uint8


@pytest.mark.parametrize("case", between(names_in("plca_data"), "nearest/"))
def test_legacy_nearest_takes_plcas_pixels_at_the_sizes_of_its_runs(golden, case):
    expected, (size, new_size) = golden("plca_data")["nearest"][case], map(int, case.split("_"))
    index = jnp.arange(size, dtype=jnp.int32)
    found = resize_nearest_legacy(
        jnp.broadcast_to(index[None, :, None], (1, size, size)), (new_size, new_size)
    )
    np.testing.assert_array_equal(found[0, :, 0], expected)
    found = resize_nearest_legacy(
        jnp.broadcast_to(index[None, None], (1, size, size)), (new_size, new_size)
    )
    np.testing.assert_array_equal(found[0, 0], expected)


@pytest.mark.parametrize("hw", [(9, 13), (20, 13), (9, 30), (21, 34), (5, 4)])
@pytest.mark.parametrize("piece_bytes", [1, 4 * 34 * 3 * 6, 2**28])
def test_the_largest_class_is_that_of_the_resized_scores_in_pieces_of_any_size(hw, piece_bytes):
    scores = np.random.default_rng(1).normal(size=(9, 13, 3)).astype(np.float32)
    for align_corners in (True, False):
        resized = resize_bilinear(jnp.asarray(scores)[None], hw, align_corners=align_corners)[0]
        found = largest_class(scores, hw, align_corners=align_corners, piece_bytes=piece_bytes)
        np.testing.assert_array_equal(found, np.asarray(resized).argmax(-1))
        assert found.dtype == np.uint8
