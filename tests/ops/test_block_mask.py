"""MIC's masks against the authors' (sota_block_mask.npz)."""

import jax
import jax.numpy as jnp
import numpy as np

from dajax.ops.block_mask import block_mask, grid_size


def test_grids_and_masks_are_the_authors(golden):
    arrays = golden("sota_block_mask")[""]
    cases = [key.removesuffix("_uniform") for key in arrays if key.endswith("_uniform")]
    assert len(cases) > 1
    for case in cases:
        block, ratio = arrays[f"{case}_block_ratio"]
        shape, noise = arrays[f"{case}_mask_shape"], arrays[f"{case}_uniform"][:, 0]
        expected = np.unpackbits(arrays[f"{case}_mask"])[: np.prod(shape)].reshape(shape)[:, 0]
        size_hw = tuple(shape[2:].tolist())
        assert grid_size(size_hw, int(block)) == noise.shape[1:], case
        found = block_mask(jnp.asarray(noise), size_hw, ratio=float(ratio))
        np.testing.assert_array_equal(found, expected, err_msg=case)


def test_a_ratio_is_the_share_that_is_hidden():
    noise = jax.random.uniform(jax.random.key(0), (10, 32, 32))
    stays = block_mask(noise, (64, 64), ratio=0.7)
    np.testing.assert_allclose(stays.mean(), 0.3, atol=0.03)  # five deviations of 10,240 blocks
    assert block_mask(noise, (64, 64), ratio=0.0).all()
