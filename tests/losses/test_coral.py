"""Deep CORAL's loss against the golden file (tier2_coral), and what others have in its place."""

import jax.numpy as jnp
import numpy as np
from compare import assert_close, assert_value_and_gradients
from golden_arrays import between

from dajax.losses.coral import covariance, covariance_difference

TOLERANCE = 1e-4  # tests/golden/README.md


def loss(source, target):
    masks = [jnp.ones(len(rows), bool) for rows in (source, target)]
    return covariance_difference(source, target, *masks)


def test_value_and_gradients_are_the_papers_of_the_golden_file(golden):
    """And what the released layer and tllib have in its place is what docs/methods/coral.md says:
    the one centres with a single number, the other has a term of means and no 1 / 4.
    """
    case = golden("tier2_coral")[""]
    everywhere = jnp.ones(1, bool)

    def tllibs(*rows):
        c_s, c_t = (covariance(x, jnp.broadcast_to(everywhere, len(x))) for x in rows)
        means = [x.mean(0) for x in rows]
        return jnp.square(c_s - c_t).mean() + jnp.square(means[0] - means[1]).mean()

    def released(x):
        count, width = x.shape
        moved = jnp.zeros(width).at[0].set(x.reshape(-1)[:width].sum())
        return (x.T @ x - jnp.outer(moved, moved) / count) / (count - 1), x - moved[None] / count

    for name in between(case, "source_"):
        rows = [case[f"{domain}_{name}"] for domain in ("source", "target")]
        for prefix, function in (("", loss), ("tllib_", tllibs)):
            grads = [case[f"{prefix}grad_{domain}_{name}"] for domain in ("source", "target")]
            assert_value_and_gradients(
                function, rows, case[f"{prefix}loss_{name}"], grads, TOLERANCE
            )
        (c_s, source), (c_t, target) = (released(jnp.asarray(x, jnp.float32)) for x in rows)
        (count, width), apart = rows[0].shape, c_s - c_t
        np.testing.assert_allclose(
            jnp.square(apart).sum() / (4 * width**2), case[f"caffe_loss_{name}"], rtol=TOLERANCE
        )
        for sign, x, domain in ((1, source, "source"), (-1, target, "target")):
            grad = sign * x @ apart / (width**2 * (count - 1))
            assert_close(grad, case[f"caffe_grad_{domain}_{name}"], TOLERANCE)
