"""DomainBatchNorm against torch's numbers (can_bn.npz), with masks, and on four devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close

from dajax.models.norm import DomainBatchNorm, Mode

TOLERANCE = 1e-5  # tests/golden/README.md: BN outputs and statistics, relative to the largest entry
DEVICES = 4


near = functools.partial(assert_close, tolerance=TOLERANCE)


def make_variables(channels, *, num_domains=1, seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    shape = (num_domains, channels)
    return {
        "params": {
            "scale": 1 + 0.3 * jax.random.normal(keys[0], shape),
            "bias": jax.random.normal(keys[1], shape),
        },
        "batch_stats": {
            "mean": jax.random.normal(keys[2], shape),
            "var": jnp.exp(jax.random.normal(keys[3], shape)),
        },
    }


def train(layer, variables, x, **mode):
    y, updated = layer.apply(variables, x, Mode(train=True, **mode), mutable=["batch_stats"])
    return y, updated["batch_stats"]


def test_domain_normalisation_is_torchs_over_five_steps(golden):
    case = golden("can_bn")["bn1d"]
    num_domains = len(case["weight"])
    layer = DomainBatchNorm(
        num_domains=num_domains, momentum=float(case["momentum"]), epsilon=float(case["eps"])
    )
    params = {"scale": jnp.asarray(case["weight"]), "bias": jnp.asarray(case["bias"])}
    stats = {"mean": jnp.asarray(case["running_mean0"]), "var": jnp.asarray(case["running_var0"])}
    for step, domain in enumerate(case["domain_sequence"]):
        y, stats = train(
            layer,
            {"params": params, "batch_stats": stats},
            jnp.asarray(case["x"][step]),
            norm_set=int(domain),
        )
        near(y, case["y_train"][step])
        near(stats["mean"], case["running_mean_after"][step])
        near(stats["var"], case["running_var_after"][step])
    assert len(case["domain_sequence"]) > 1
    for domain in range(num_domains):
        y = layer.apply(
            {"params": params, "batch_stats": stats},
            jnp.asarray(case["x"][0]),
            Mode(norm_set=domain),
        )
        near(y, case["y_eval_x0"][domain])


def test_running_variance_is_unbiased_like_torch(golden):
    case = golden("can_bn")["bn2d"]
    layer, x = DomainBatchNorm(), jnp.asarray(case["x_nhwc"])
    variables = layer.init(jax.random.key(0), x, Mode(train=True))
    assert (variables["batch_stats"]["var"] == 1).all(), "initialising is no step"
    y, stats = train(layer, variables, x)
    near(y, case["y_nhwc"])
    near(stats["mean"][0], case["running_mean"])
    near(stats["var"][0], case["running_var"])
    biased = 0.9 + 0.1 * np.asarray(x).reshape(-1, x.shape[-1]).var(0)
    assert np.abs(biased - case["running_var"]).max() > 1e-4, (
        "the two kinds of variance must differ here"
    )


def test_hand_computed_two_by_two():
    """Columns (1, 3) and (0, 4): means 2, 2; biased variances 1, 4; unbiased 2, 8."""
    layer = DomainBatchNorm(epsilon=0.0)
    x = jnp.array([[1.0, 0.0], [3.0, 4.0]])
    y, stats = train(layer, layer.init(jax.random.key(0), x, Mode()), x)
    near(y, [[-1.0, -1.0], [1.0, 1.0]])
    near(stats["mean"], [[0.2, 0.2]])
    near(stats["var"], [[0.9 + 0.2, 0.9 + 0.8]])


def test_only_the_domain_in_use_moves():
    layer, variables = DomainBatchNorm(num_domains=3), make_variables(5, num_domains=3)
    _, stats = train(layer, variables, jax.random.normal(jax.random.key(1), (6, 5)), norm_set=1)
    for name, before in variables["batch_stats"].items():
        for domain in (0, 2):
            np.testing.assert_array_equal(stats[name][domain], before[domain])
        assert not np.allclose(stats[name][1], before[1])


def test_masked_rows_count_for_nothing():
    layer, variables = DomainBatchNorm(), make_variables(3)
    x = jax.random.normal(jax.random.key(1), (5, 2, 2, 3))
    mask = jnp.array([True, False, True, True, False])
    y, stats = train(layer, variables, x, mask=mask)
    y_alone, stats_alone = train(layer, variables, x[mask])
    near(y[mask], y_alone)
    jax.tree.map(near, stats, stats_alone)
    y_other, stats_other = train(
        layer, variables, jnp.where(mask.reshape(-1, 1, 1, 1), x, 1e6), mask=mask
    )
    np.testing.assert_array_equal(y_other[mask], y[mask])
    jax.tree.map(np.testing.assert_array_equal, stats_other, stats)


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 2, 4)])
def test_no_row_or_one_row_stays_finite(rows, shape):
    layer, variables = DomainBatchNorm(), make_variables(4)
    x, mask = jax.random.normal(jax.random.key(1), shape), jnp.arange(3) < rows

    def loss(params, x):
        y, stats = train(layer, {**variables, "params": params}, x, mask=mask)
        of_rows = jnp.where(mask.reshape((3,) + (1,) * (x.ndim - 1)), y, 0.0)
        return of_rows.sum() + jnp.square(y).sum(), (y, stats)

    gradients, (y, stats) = jax.grad(loss, argnums=(0, 1), has_aux=True)(variables["params"], x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradients, y, stats)))
    assert (stats["var"] > 0).all()
    if rows == 0:
        jax.tree.map(np.testing.assert_array_equal, stats, variables["batch_stats"])
        np.testing.assert_array_equal(
            y, layer.apply(variables, x, Mode()), "the running statistics normalise instead"
        )
    else:
        assert not np.allclose(stats["mean"], variables["batch_stats"]["mean"])
    if rows == 1 and x.ndim == 2:
        np.testing.assert_array_equal(
            stats["var"], variables["batch_stats"]["var"], "one position has no variance"
        )


def test_a_large_mean_does_not_cancel():
    """In float32, E[x^2] - E[x]^2 of this input is off by several per cent or negative; centring
    first keeps about 1e-4.
    """
    x = 1000.0 + jax.random.normal(jax.random.key(0), (64, 3))
    layer = DomainBatchNorm()
    y, stats = train(layer, layer.init(jax.random.key(0), x, Mode()), x)
    expected = np.asarray(x, np.float64)
    assert_close(stats["var"][0], 0.9 + 0.1 * expected.var(0, ddof=1), 1e-4)
    assert_close(y, (expected - expected.mean(0)) / np.sqrt(expected.var(0) + 1e-5), 1e-3)


def test_an_unknown_domain_is_an_error():
    layer, x = DomainBatchNorm(), jnp.ones((2, 3))
    with pytest.raises(ValueError, match="norm_set 1: this network has 1 of them"):
        layer.init(jax.random.key(0), x, Mode(norm_set=1))


def test_a_mask_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="the mask"):
        train(DomainBatchNorm(), make_variables(3), jnp.ones((2, 3)), mask=jnp.ones(3, bool))


# Eight rows over four devices: uneven, one device without any row, a single row in all, none, and
# every row (no mask).
MASKS = {
    "uneven": [1, 1, 0, 1, 0, 0, 1, 0],
    "one": [0, 0, 0, 0, 0, 1, 0, 0],
    "none": [0] * 8,
    "all": None,
}


@pytest.mark.parametrize("shape", [(8, 5), (8, 3, 2, 5)], ids=["NC", "NHWC"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_four_devices_are_one_device(mask, shape):
    """Loss, gradients of parameters and input, statistics; each device's loss is its share,
    gradients are summed afterwards.
    """
    layer, variables = DomainBatchNorm(num_domains=2), make_variables(5, num_domains=2)
    x, weights = (jax.random.normal(jax.random.key(seed), shape) for seed in (1, 2))
    valid = jnp.ones(8, bool) if mask is None else jnp.array(mask, bool)

    def step(params, x, weights, valid, axis_name=None):
        mode = Mode(
            train=True, norm_set=1, mask=None if mask is None else valid, axis_name=axis_name
        )

        def loss(params, x):
            y, updated = layer.apply(
                {**variables, "params": params}, x, mode, mutable=["batch_stats"]
            )
            counts = valid.astype(y.dtype).reshape((-1,) + (1,) * (y.ndim - 1))
            return (jnp.tanh(y) * weights * counts).sum(), (y, updated["batch_stats"])

        (value, (y, stats)), (grads, grad_x) = jax.value_and_grad(
            loss, argnums=(0, 1), has_aux=True
        )(params, x)
        if axis_name is not None:
            value, grads = jax.lax.psum((value, grads), axis_name)
        return (value, grads, stats), (y, grad_x)

    expected, expected_rows = jax.jit(step)(variables["params"], x, weights, valid)
    mapped = jax.pmap(
        lambda *args: step(*args, axis_name="devices"),
        axis_name="devices",
        in_axes=(None, 0, 0, 0),
        out_axes=(None, 0),
    )
    actual, actual_rows = mapped(
        variables["params"],
        *(rows.reshape((DEVICES, -1) + rows.shape[1:]) for rows in (x, weights, valid)),
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), actual, expected
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a.reshape(shape), b, rtol=1e-5, atol=1e-5),
        actual_rows,
        expected_rows,
    )
