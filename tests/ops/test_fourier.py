"""FDA's swap of amplitudes against the authors' numpy form, and what it must leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_arrays import between, channels_first, channels_last

from dajax.ops.fourier import swap_amplitudes

TOLERANCE = 2e-3  # tests/golden/README.md: grey levels, of images in float32


def swapped(source, target, beta):
    return jax.jit(lambda a, b: swap_amplitudes(a, b, beta=beta))(source, target)


def test_the_swap_is_the_authors_numpy_form(golden):
    """Sides even and odd; 0.01 swaps the mean colour alone."""
    case = golden("tier2_fda")[""]
    for name in between(case, "np_"):
        size, _, beta = name.partition("_")
        source, target = (channels_last(case[f"{key}_{size}"]) for key in ("source", "target"))
        found = channels_first(swapped(source, target, float(beta.replace("_", "."))))
        np.testing.assert_allclose(found, case[f"np_{name}"], rtol=0, atol=TOLERANCE, err_msg=name)


def test_the_training_codes_form_has_the_same_mean_and_high_frequencies(golden):
    """It was emulated, since its half spectrum has no inverse: what does not hang on that is the
    mean colour and what lies beyond the window. With a window of nothing it changes nothing.
    """
    case = golden("tier2_fda")[""]
    names = [key.removeprefix("torch_") for key in case if key.startswith("torch_")]
    assert names
    for name in names:
        size, _, beta = name.partition("_")
        source, target = (case[f"{key}_{size}"] for key in ("source", "target"))
        beta, theirs = float(beta.replace("_", ".")), case[f"torch_{name}"]
        height_width = source.shape[2:]
        bound = int(np.floor(min(height_width) * beta))
        if bound == 0:
            np.testing.assert_allclose(theirs, source, rtol=0, atol=1e-9)
            continue
        found = channels_first(swapped(channels_last(source), channels_last(target), beta))
        difference = np.fft.fft2(found - theirs) / np.prod(height_width)  # of grey levels
        np.testing.assert_allclose(difference[..., 0, 0], 0, atol=TOLERANCE)
        rows, columns = (np.abs(np.fft.fftfreq(n, 1 / n)) > bound for n in height_width)
        is_high = rows[:, None] | columns
        np.testing.assert_allclose(difference[..., is_high], 0, atol=TOLERANCE, err_msg=name)


def images(seed, shape=(2, 8, 10, 3)):
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 255, shape), jnp.float32)


def test_a_window_of_nothing_swaps_the_mean_colour():
    source, target = images(0), images(1)
    found = swapped(source, target, 0.05)  # floor(0.4) = 0
    mean = target.mean((1, 2), keepdims=True)
    expected = source - source.mean((1, 2), keepdims=True) + mean
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_an_image_is_its_own_style_and_rows_have_their_own():
    source, target = images(0), images(1)
    np.testing.assert_allclose(swapped(source, source, 0.3), source, atol=1e-3)
    both = swapped(source, target, 0.3)
    for row in range(2):
        one = swapped(source[row][None], target[row][None], 0.3)
        np.testing.assert_allclose(both[row], one[0], atol=1e-3)
    assert np.abs(both - source).max() > 1


def test_with_all_amplitudes_swapped_the_phase_alone_is_the_sources():
    source, target = images(0, (1, 6, 7, 1)), images(1, (1, 6, 7, 1))
    spectrum = np.fft.fft2(np.asarray(swapped(source, target, 0.5), np.float64)[0, :, :, 0])
    style = np.fft.fft2(np.asarray(target, np.float64)[0, :, :, 0])
    own = np.fft.fft2(np.asarray(source, np.float64)[0, :, :, 0])
    low = np.abs(np.fft.fftfreq(7, 1 / 7)) < 3.5  # floor(6 / 2) = 3 on both sides: everything
    assert low.all()
    np.testing.assert_allclose(np.abs(spectrum), np.abs(style), atol=1e-2)
    np.testing.assert_allclose(np.angle(spectrum * own.conj()), 0, atol=1e-2)


def test_images_without_amplitudes_are_finite():
    zeros = jnp.zeros((1, 4, 4, 1))
    np.testing.assert_allclose(swapped(zeros, zeros + 3.0, 0.1), zeros + 3.0, atol=1e-5)
    assert swap_amplitudes(zeros[:0], zeros[:0], beta=0.1).shape == (0, 4, 4, 1)


def test_images_of_two_sizes_are_refused(unchecked_types):
    with pytest.raises(ValueError, match="must have the same shape"):
        swap_amplitudes(jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 4, 6, 1)), beta=0.1)
