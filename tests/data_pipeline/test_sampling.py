"""From a step number to rows and random numbers."""

import numpy as np
import pytest

from data_pipeline.sampling import (
    make_key,
    num_sequential_steps,
    permuted,
    random_rows,
    sequential_rows,
    uniforms,
)

# both sides of the change of algorithm, and powers of 4
SIZES = (1, 2, 3, 5, 31, 255, 256, 257, 1000, 1024, 1797)


@pytest.mark.parametrize("n", SIZES)
def test_a_permutation_holds_every_position_once(n):
    for name in "abc":
        np.testing.assert_array_equal(
            np.sort(permuted(np.arange(n), n, make_key(0, name))), np.arange(n)
        )


@pytest.mark.parametrize("n", [5, 31, 300])
def test_a_permutation_is_roughly_uniform(n):
    trials = 1000
    counts = np.zeros((n, n))
    for trial in range(trials):
        counts[np.arange(n), permuted(np.arange(n), n, make_key(trial))] += 1
    freedom = (n - 1) ** 2
    chi_squared = ((counts - trials / n) ** 2 / (trials / n)).sum()
    # 5 standard deviations; the keys are fixed
    assert abs(chi_squared - freedom) < 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("n", [31, 300])
def test_many_keys_at_once_equal_one_at_a_time(n):
    keys = np.array([make_key(i) for i in range(6)], np.uint64)
    at_once = permuted(np.arange(6), n, keys)
    np.testing.assert_array_equal(at_once, [permuted(i, n, int(key)) for i, key in enumerate(keys)])


def test_a_position_outside_the_permutation_is_refused():
    with pytest.raises(ValueError, match=r"5\.\.5 are outside range\(5\)"):
        permuted(5, 5, 0)


def test_an_epoch_shows_each_row_at_most_once_and_drops_the_remainder():
    epochs = [
        np.concatenate([random_rows(epoch * 3 + i, 10, 37, 1) for i in range(3)])
        for epoch in range(5)
    ]
    for rows in epochs:
        assert len(set(rows)) == 30 and rows.min() >= 0 and rows.max() < 37
    assert len({tuple(rows) for rows in epochs}) == 5  # a new permutation each epoch
    # the dropped remainder is another one each epoch
    assert set(np.concatenate(epochs)) == set(range(37))


def test_without_drop_last_each_epoch_shows_every_row_once():
    rows = np.concatenate([random_rows(step, 10, 37, 1, drop_last=False) for step in range(37)])
    for epoch in rows.reshape(10, 37):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(37))


def test_a_set_smaller_than_the_batch_wraps_around():
    rows = np.concatenate([random_rows(step, 8, 3, 1) for step in range(3)])
    for epoch in rows.reshape(8, 3):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(3))


def test_every_step_can_be_asked_for_directly():
    in_order = [random_rows(step, 30, 1797, 7) for step in range(100)]
    for step in (99, 0, 57):
        np.testing.assert_array_equal(random_rows(step, 30, 1797, 7), in_order[step])
    assert random_rows(10**12, 30, 1797, 7).shape == (30,)


def test_sequential_rows_show_each_row_once_and_pad_with_minus_one():
    assert num_sequential_steps(7, 3) == 3 and num_sequential_steps(6, 3) == 2
    rows = np.concatenate([sequential_rows(step, 3, 7) for step in range(3)])
    np.testing.assert_array_equal(rows, [0, 1, 2, 3, 4, 5, 6, -1, -1])


def test_uniforms_fill_the_unit_interval_and_never_reach_one():
    values = uniforms(3, 20000, 2, make_key(0, "x"))
    assert values.dtype == np.float32 and values.shape == (20000, 2)
    assert 0 <= values.min() < 1e-3 and 1 - 1e-3 < values.max() < 1
    np.testing.assert_allclose(values.mean(axis=0), 0.5, atol=0.01)  # 5 standard errors
    assert abs(np.corrcoef(values.T)[0, 1]) < 0.04


def test_a_row_of_uniforms_does_not_depend_on_the_number_of_rows():
    np.testing.assert_array_equal(uniforms(5, 3, 4, 9), uniforms(5, 30, 4, 9)[:3])


def test_uniforms_differ_between_steps_and_keys():
    drawn = {tuple(uniforms(step, 1, 4, key)[0]) for step in range(10) for key in range(10)}
    assert len(drawn) == 100


def test_keys_and_numbers_are_the_same_on_every_machine():
    # Frozen: a change here means that no earlier run can be resumed or repeated.
    assert make_key(0, "source", "order") == 11109368716918110559
    assert make_key(0, "ab", "c") != make_key(0, "a", "bc")
    np.testing.assert_array_equal(random_rows(1000, 4, 1797, 0), [235, 883, 1406, 118])
    np.testing.assert_array_equal(random_rows(1000, 4, 31, 0), [20, 28, 0, 30])
    np.testing.assert_allclose(
        # written with 7 digits
        uniforms(1000, 1, 3, 0)[0],
        [0.3351696, 0.8820428, 0.9747917],
        rtol=0,
        atol=1e-7,
    )
