"""The blur against kornia 0.5.8's (sota_blur.npz)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close
from golden_arrays import channels_first, channels_last

from dajax.ops.gaussian_blur import gaussian_blur, gaussian_kernel, kernel_size

TOLERANCE = 2e-6  # kornia's kernels are float32


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("sota_blur")[""]


def test_kernels_have_the_authors_sizes(arrays):
    found = [kernel_size(size) for size in arrays["sizes"].tolist()]
    assert found == arrays["kernels"].tolist()


def cases(arrays):
    found = [key.removesuffix("_image") for key in arrays if key.endswith("_image")]
    assert len(found) > 1
    return found


def test_kernels_are_kornias(arrays):
    (long,) = gaussian_kernel(jnp.ones(1), len(arrays["kernel51_sigma1"]))
    assert_close(long, arrays["kernel51_sigma1"], TOLERANCE)
    for case in cases(arrays):
        expected = arrays[f"{case}_kernel_y"]
        (found,) = gaussian_kernel(jnp.float32(arrays[f"{case}_sigma"])[None], len(expected))
        assert_close(found, expected, TOLERANCE, err_msg=case)


def test_blurred_images_are_kornias(arrays):
    for case in cases(arrays):
        sigma = float(arrays[f"{case}_sigma"])
        run = jax.jit(gaussian_blur, static_argnames="largest_sigma")
        images = channels_last(arrays[f"{case}_image"])
        found = run(images, jnp.full(len(images), sigma, jnp.float32), largest_sigma=sigma)
        assert_close(channels_first(found), arrays[f"{case}_out"], TOLERANCE, err_msg=case)


def test_taps_that_are_left_out_are_none():
    """512 pixels: 15 taps of 51."""
    row = jax.random.normal(jax.random.key(0), (1, 8, 512, 1))
    sigma = jnp.array([1.15])
    cut = gaussian_blur(row, sigma, largest_sigma=1.15)
    whole = gaussian_blur(row, sigma, largest_sigma=10.0)
    np.testing.assert_allclose(cut, whole, rtol=0, atol=1e-6)


def test_every_image_has_a_width_of_its_own():
    images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    both = gaussian_blur(images, jnp.array([0.3, 1.0]), largest_sigma=1.15)
    for i, sigma in enumerate((0.3, 1.0)):
        alone = gaussian_blur(images[i : i + 1], jnp.array([sigma]), largest_sigma=1.15)
        np.testing.assert_allclose(both[i : i + 1], alone, rtol=0, atol=1e-6)
