"""The patch discriminator against clan_disc.npz, and its initialisation."""

import jax
import jax.numpy as jnp
import numpy as np
from compare import assert_close
from golden_arrays import channels_first, channels_last
from recipe_weights import discriminator_params

from dajax.models.discriminator import Discriminator

# tests/golden/README.md: float32 gradients, of the array's max; outputs as the networks'
TOLERANCE = 1e-4


def test_output_and_gradient_are_the_authors(golden):
    arrays = golden("clan_disc")[""]
    cases = [name.removesuffix("_out") for name in arrays if name.endswith("_out")]
    params = discriminator_params(str(arrays["salt"]))

    @jax.jit
    def run(logits, cotangent):
        def judge(logits):
            return Discriminator(64).apply({"params": params}, jax.nn.softmax(logits))

        y, vjp = jax.vjp(judge, logits)
        return y, vjp(cotangent)[0]

    assert len(cases) > 1
    for case in cases:
        cotangent = jnp.asarray(arrays[f"{case}_cotangent"][:, 0], jnp.float32)
        y, grad = run(channels_last(arrays[f"{case}_logits"]), cotangent)
        assert_close(y, arrays[f"{case}_out"][:, 0], TOLERANCE, err_msg=case)
        assert_close(channels_first(grad), arrays[f"{case}_grad_logits"], TOLERANCE, err_msg=case)


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
