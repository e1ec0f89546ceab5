"""Class-balanced sampling: the rows of a step. Which classes the labels contain:
test_classes_present.py.
"""

import math
import random

import numpy as np
import pytest

from data_pipeline.errors import DataError
from data_pipeline.sampling import make_key, permuted, random_words, subkey
from data_pipeline.segmentation import class_balanced
from data_pipeline.segmentation.class_balanced import BLOCK, rows

KEY = make_key(0, "source", "class_balanced")


def files_with_classes(num_files=600, shares=(1.0, 0.6, 0.3, 0.1, 0.01), seed=0):
    """bool [N, K]: class k is in a random share of the files, and in at least one."""
    shares = np.array(shares)
    present = np.random.RandomState(seed).random_sample((num_files, len(shares))) < shares
    present[np.arange(len(shares)), np.arange(len(shares))] |= shares > 0
    return present


def block_in_plain_python(present, uniform, next_file):
    """The procedure of the specification, A2, for one block.

    present: for each file the set of its classes. uniform: () -> number in [0, 1). next_file: class
    -> file.
    """
    num_classes = max(map(max, filter(None, present))) + 1
    can_be_drawn = [c for c in range(num_classes) if any(c in classes for classes in present)]
    seen, drawn = dict.fromkeys(can_be_drawn, 0), []
    for _ in range(3000):
        total = sum(seen.values())
        weight = {c: 1 / math.log(1.01 + (seen[c] / total if total else 0)) for c in can_be_drawn}
        left = uniform() * sum(weight.values())
        for c in can_be_drawn:
            left -= weight[c]
            if left < 0:
                break
        drawn.append(next_file(c))
        for contained in present[drawn[-1]]:
            seen[contained] += 1
    return drawn


def as_sets(present):
    return [set(np.flatnonzero(classes).tolist()) for classes in present]


@pytest.mark.parametrize("number", [0, 4])
def test_a_block_is_the_procedure_of_the_specification(number):
    present = files_with_classes()
    words = iter(random_words(number, 3000, KEY).tolist())
    block_key, places = int(subkey(KEY, number)), [0] * 5

    def next_file(c):
        files = np.flatnonzero(present[:, c])
        passes, position = divmod(places[c], len(files))
        places[c] += 1
        return int(
            files[permuted(position, len(files), int(subkey(int(subkey(block_key, c)), passes)))]
        )

    expected = block_in_plain_python(
        as_sets(present), lambda: (next(words) >> 11) / 2**53, next_file
    )
    got = rows(number, 3000, present, KEY)
    np.testing.assert_array_equal(np.sort(got), np.sort(expected))
    assert got.tolist() != expected  # shuffled within the block ...
    order = permuted(np.arange(3000), 3000, int(subkey(block_key, 5)))
    np.testing.assert_array_equal(got, np.array(expected)[order])  # ... in an order of its own


def test_classes_come_as_often_as_with_other_random_numbers():
    present, dice = files_with_classes(), random.Random(0)
    queues = {c: [] for c in range(5)}

    def next_file(c):
        if not queues[c]:
            queues[c] = np.flatnonzero(present[:, c]).tolist()
            dice.shuffle(queues[c])
        return queues[c].pop()

    expected = present[block_in_plain_python(as_sets(present), dice.random, next_file)].mean(axis=0)
    got = present[rows(0, 3000, present, KEY)].mean(axis=0)
    # two binomials of 3000: 4 standard deviations of their difference at a half
    np.testing.assert_allclose(got, expected, atol=0.05)


def test_a_rare_class_comes_far_more_often_than_its_share_of_the_files():
    present = files_with_classes()
    share, drawn_share = present.mean(axis=0), present[rows(0, BLOCK, present, KEY)].mean(axis=0)
    assert share[4] < 0.02 and drawn_share[4] > 10 * share[4]
    assert drawn_share[0] == 1  # in every file


def test_every_file_of_a_class_comes_before_one_comes_again():
    # one class a file: the lists of files do not overlap
    present = np.eye(3, dtype=bool)[[0] * 90 + [1] * 9 + [2]]
    counts = np.bincount(rows(0, BLOCK, present, KEY), minlength=100)
    for files in (counts[:90], counts[90:99], counts[99:]):
        assert files.max() - files.min() <= 1  # one pass over the list after the other
        # three classes that never occur together come equally often
        assert abs(files.sum() - 1000) < 50


def test_any_step_gives_the_same_rows_whatever_was_asked_before():
    present = files_with_classes()
    in_order = [rows(step, 7, present, KEY) for step in range(3000)]  # seven blocks
    other = files_with_classes(seed=1)
    for step in (2999, 0, 428, 429, 1500):
        class_balanced._block.cache_clear()
        rows(step, 7, other, KEY), rows(step + 400, 7, present, KEY + 1)
        np.testing.assert_array_equal(rows(step, 7, present, KEY), in_order[step])
    assert rows(10**12, 7, present, KEY).shape == (7,)


@pytest.mark.parametrize("batch_size", [1, 4, 7, 64, 2999, 3001, 7000])
def test_the_batch_size_only_cuts_one_endless_order(batch_size):
    present = files_with_classes()
    endless = np.concatenate([rows(block, BLOCK, present, KEY) for block in range(5)])
    for draw in (0, 2990, 5999):  # batches around the borders of the blocks
        step = draw // batch_size
        got = rows(step, batch_size, present, KEY)
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, endless[step * batch_size : (step + 1) * batch_size])


def test_every_block_is_drawn_anew_and_so_is_every_key():
    present = files_with_classes()
    blocks = [
        tuple(rows(block, BLOCK, present, key)) for block in range(3) for key in (KEY, KEY + 1)
    ]
    assert len(set(blocks)) == 6


def test_the_order_within_a_block_is_random():
    present = files_with_classes()
    drawn = rows(0, BLOCK, present, KEY)
    halves = [present[half].mean(axis=0) for half in np.split(drawn, 2)]
    np.testing.assert_allclose(*halves, atol=0.06)  # 3 standard errors at a half


def test_a_class_without_files_changes_nothing():
    present = files_with_classes()
    with_more = np.insert(present, [0, 2, 5], False, axis=1)  # first, in the middle and last
    np.testing.assert_array_equal(rows(0, BLOCK, with_more, KEY), rows(0, BLOCK, present, KEY))


def test_all_rows_are_in_range_and_a_file_without_a_class_is_never_drawn():
    present = files_with_classes(shares=(0.5, 0.1))
    empty = ~present.any(axis=1)
    drawn = np.concatenate([rows(block, BLOCK, present, KEY) for block in range(3)])
    assert empty.any() and set(drawn) == set(np.flatnonzero(~empty))


def test_one_file_is_drawn_again_and_again():
    assert set(rows(0, 10, np.ones((1, 19), bool), KEY)) == {0}


def test_labels_without_any_class_are_an_error():
    with pytest.raises(DataError, match="none of 3 labels contains a class"):
        rows(0, 4, np.zeros((3, 19), bool), KEY)


def test_a_changed_array_is_another_order():
    present = files_with_classes()
    before = rows(0, BLOCK, present, KEY)
    present[:300] = False
    assert before.min() < 300 <= rows(0, BLOCK, present, KEY).min()


def test_rows_are_the_callers_to_change():
    present = files_with_classes()
    before = rows(0, 8, present, KEY)
    rows(0, 8, present, KEY)[:] = -1
    np.testing.assert_array_equal(rows(0, 8, present, KEY), before)


def test_the_order_is_the_same_on_every_machine():
    # Frozen: a change here means that no earlier run can be resumed or repeated.
    present = np.arange(25_000)[:, None] % np.array([1, 2, 7, 90, 3000]) == 0
    assert rows(1000, 4, present, 0).tolist() == [24750, 11718, 9219, 21277]
