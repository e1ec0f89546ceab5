"""The patch discriminator against clan_disc.npz, and its initialisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recipe_weights import discriminator_params

from dajax.models.discriminator import Discriminator

# tests/golden/README.md: float32 gradients, of the array's max; outputs as the networks'
TOLERANCE = 1e-4


@pytest.mark.parametrize("case", range(3))
def test_output_and_gradient_are_the_authors(golden, case):
    arrays = golden("clan_disc")[""]
    logits, grad = (
        np.moveaxis(arrays[f"d{case}_{key}"], 1, -1) for key in ("logits", "grad_logits")
    )
    expected, cotangent = (
        arrays[f"d{case}_out"][:, 0],
        jnp.asarray(arrays[f"d{case}_cotangent"][:, 0], jnp.float32),
    )
    params = discriminator_params(str(arrays["salt"]))

    @jax.jit
    def run(logits, cotangent):
        y, vjp = jax.vjp(
            lambda logits: Discriminator(64).apply({"params": params}, jax.nn.softmax(logits)),
            logits,
        )
        return y, vjp(cotangent)[0]

    found, found_grad = run(jnp.asarray(logits, jnp.float32), cotangent)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
    np.testing.assert_allclose(found_grad, grad, rtol=0, atol=TOLERANCE * np.abs(grad).max())


def test_it_begins_as_torchs_convolutions_do():
    """kaiming_uniform_(a=sqrt(5)): weight and bias uniform within 1 / sqrt(fan_in), fan_in = 16 in.
    2,781,121 parameters.
    """
    params = jax.jit(
        lambda: Discriminator(64).init(jax.random.key(0), jnp.zeros((1, 32, 32, 19)))["params"]
    )()
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 2_781_121
    for name, in_channels in (("conv1", 19), ("conv4", 256)):
        bound = (16 * in_channels) ** -0.5
        for leaf in jax.tree.leaves(params[name]):
            assert 0.9 * bound < np.abs(leaf).max() <= bound and np.abs(leaf.mean()) < 0.2 * bound
            # 64 biases only: their deviation scatters by 6 %
            np.testing.assert_allclose(leaf.std(), bound / 3**0.5, rtol=0.2)
