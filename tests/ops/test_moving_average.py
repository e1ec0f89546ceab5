"""The exponential moving average of a network, against numbers worked out by hand and DAFormer's
teacher (sota_ema.npz).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compare import assert_close

from dajax.ops.moving_average import moving_average, warmed_up


def test_the_momentum_grows_to_its_value():
    """1 - 1 / (t + 1) is 1/2, 2/3 and 3/4 after one, two and three updates."""
    found = [float(warmed_up(0.7, step)) for step in (1, 2, 3, 1000)]
    np.testing.assert_allclose(found, [0.5, 2 / 3, 0.7, 0.7], rtol=1e-6)


def test_until_then_the_average_is_the_plain_mean_of_all_values():
    values = [2.0, 4.0, 9.0, 1.0]
    average = {"w": jnp.full(3, values[0])}
    for step, value in enumerate(values[1:], 1):
        average = moving_average(average, {"w": jnp.full(3, value)}, warmed_up(0.999, step))
    np.testing.assert_allclose(average["w"], np.mean(values), rtol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_one_update_is_the_weighted_sum(compiled):
    update = jax.jit(moving_average) if compiled else moving_average
    average = update({"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([3.0, 6.0])}, 0.75)
    np.testing.assert_allclose(average["w"], [1.5, 0.0], rtol=0, atol=1e-7)


def test_a_leaf_that_never_moves_keeps_its_bits():
    """0.999 x + 0.001 x is another number for every tenth x or so."""
    frozen = jax.random.normal(jax.random.key(0), (1000,))
    average = frozen
    for _ in range(10):
        average = moving_average(average, frozen, 0.999)
    np.testing.assert_array_equal(average, frozen)


def test_counters_are_taken_over_and_not_averaged():
    average = moving_average({"seen": jnp.int32(10)}, {"seen": jnp.int32(20)}, 0.5)
    assert average["seen"] == 20 and average["seen"].dtype == jnp.int32


def test_the_average_has_the_dtype_of_the_values():
    half = jnp.ones(2, jnp.bfloat16)
    assert moving_average(half, half, jnp.float32(0.9)).dtype == jnp.bfloat16


def test_the_teacher_is_daformers(golden):
    """Students of fourteen iterations; at iteration 0 the teacher is made the student."""
    arrays = golden("sota_ema")[""]
    momenta = [key.removesuffix("_alpha") for key in arrays if key.endswith("_alpha")]
    assert len(momenta) > 1
    update = jax.jit(moving_average)
    for prefix in momenta:
        momentum, names = float(arrays[f"{prefix}_alpha"]), arrays[f"{prefix}_names"].tolist()
        students, expected = (
            {name: np.float32(arrays[f"{prefix}_{kind}_{name}"]) for name in names}
            for kind in ("student", "teacher")
        )
        teacher = {name: jnp.zeros_like(values[0]) for name, values in students.items()}
        for step, alpha in enumerate(arrays[f"{prefix}_alphas"]):
            np.testing.assert_allclose(warmed_up(momentum, step), alpha, rtol=1e-6, atol=1e-7)
            now = {name: jnp.asarray(values[step]) for name, values in students.items()}
            teacher = update(teacher, now, warmed_up(momentum, step))
            for name in names:
                unit = np.abs(students[name]).max()
                assert_close(teacher[name], expected[name][step], 1e-6, unit=unit, err_msg=name)


def test_the_ramp_is_daformers(golden):
    arrays = golden("sota_ema")[""]
    ramps = [key for key in arrays if key.startswith("ramp_") and key != "ramp_iters"]
    assert ramps
    for key in ramps:
        found = [
            warmed_up(float(key.removeprefix("ramp_")), step)
            for step in arrays["ramp_iters"].tolist()
        ]
        np.testing.assert_allclose(found, arrays[key], rtol=1e-6, atol=1e-7)
