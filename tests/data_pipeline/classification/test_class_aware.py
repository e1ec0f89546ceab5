"""Class-aware sampling."""

import numpy as np
import pytest
from golden_arrays import GOLDEN as FOLDER
from golden_arrays import between

from data_pipeline.classification.class_aware import ClassAwareSampler

GOLDEN = np.load(FOLDER / "can_schedule.npz")


def make_sampler(
    source_labels,
    target_labels,
    is_kept,
    num_selected=3,
    source_per_class=2,
    target_per_class=3,
    update_fraction=1.0,
):
    return ClassAwareSampler.from_labels(
        [np.array(source_labels)],
        np.array(target_labels),
        np.array(is_kept, bool),
        num_selected=num_selected,
        source_per_class=source_per_class,
        target_per_class=target_per_class,
        update_fraction=update_fraction,
    )


@pytest.fixture
def sampler():
    """Seven classes of 8 source and 6 target images in mixed order; class 2 is not kept, some
    target images are filtered.
    """
    order = np.random.default_rng(0)
    source = order.permutation(np.repeat(np.arange(7), 8))
    target = order.permutation(np.repeat(np.arange(-1, 7), 6))
    return source, target, make_sampler(source, target, np.arange(7) != 2)


@pytest.mark.parametrize("case", between(GOLDEN.files, "loop_len_", "/loader_len"))
def test_the_loop_is_as_long_as_in_the_authors_code(case):
    names = between(GOLDEN.files, f"loop_len_{case}/")
    golden = {name: GOLDEN[f"loop_len_{case}/{name}"] for name in names}
    num_classes = len(golden["source_count"])
    sampler = make_sampler(
        np.repeat(np.arange(num_classes), golden["source_count"]),
        np.repeat(np.arange(num_classes), golden["target_count"]),
        np.ones(num_classes),
        int(golden["num_selected_cfg"]),
        int(golden["source_class_batch"]),
        int(golden["target_class_batch"]),
        float(golden["update_epoch_percentage"]),
    )
    assert sampler.num_batches == golden["loader_len"]
    assert sampler.iterations(when_no_class_is_kept=999) == golden["iters_executed"]
    (source_rows,), target_rows, classes = sampler.rows(0, key=0)
    assert (classes >= 0).sum() == golden["num_selected"]
    for rows, per_class in ((source_rows, "source"), (target_rows, "target")):
        drawn = (rows.reshape(len(classes), -1) >= 0).sum(axis=1)[classes >= 0]
        np.testing.assert_array_equal(
            drawn, golden[f"per_class_batch_{per_class}"][classes[classes >= 0]]
        )
    passes = int(golden["batches_per_class_pass"])
    in_a_pass = np.concatenate([sampler.rows(step, key=0)[2] for step in range(passes)])
    assert len(set(in_a_pass[in_a_pass >= 0])) == passes * golden["num_selected"]


def test_a_class_smaller_than_its_batch_counts_as_one_batch():
    source, target = np.repeat([0, 1], [1, 7]), np.repeat([0, 1], [2, 4])
    # 2 source and 3 target images a class
    sampler = make_sampler(source, target, [True, True], num_selected=2, update_fraction=0.4)
    assert sampler.num_batches == 2  # ceil((max(1, 1) + max(3, 1)) / 2)
    assert sampler.iterations(when_no_class_is_kept=9) == 1  # ceil(0.8)
    assert make_sampler([0], [0, 0], [True], num_selected=1).num_batches == 1


def test_rows_are_of_the_class_that_is_named_and_distinct(sampler):
    source_labels, target_labels, sampler = sampler
    for step in range(50):
        (source_rows,), target_rows, classes = sampler.rows(step, key=4)
        np.testing.assert_array_equal(source_labels[source_rows], np.repeat(classes, 2))
        np.testing.assert_array_equal(target_labels[target_rows], np.repeat(classes, 3))
        assert len(set(source_rows)) == 6 and len(set(target_rows)) == 9


def test_a_pass_shows_each_kept_class_once(sampler):
    for pass_number in range(10):
        classes = np.concatenate([sampler[2].rows(2 * pass_number + i, key=4)[2] for i in range(2)])
        assert sorted(classes) == [0, 1, 3, 4, 5, 6]


def test_classes_that_fill_no_batch_are_dropped_for_a_pass_only():
    # 5 classes, 3 in a batch: 1 batch a pass
    sampler = make_sampler(np.arange(5).repeat(4), np.arange(5).repeat(4), np.ones(5))
    batches = [sampler.rows(step, key=0)[2] for step in range(30)]
    assert all(len(set(classes)) == 3 for classes in batches)
    np.testing.assert_array_equal(np.unique(batches), np.arange(5))


def test_every_image_of_a_class_is_drawn_equally_often():
    sampler = make_sampler(np.zeros(5), np.zeros(4), [True], num_selected=1)
    draws = [
        (source, target)
        for (source,), target, _ in (sampler.rows(step, key=1) for step in range(3000))
    ]
    for rows, size, per_class in ((0, 5, 2), (1, 4, 3)):
        share = np.bincount(np.concatenate([draw[rows] for draw in draws]), minlength=size) / len(
            draws
        )
        np.testing.assert_allclose(share, per_class / size, atol=0.045)  # 5 standard errors


def test_fewer_kept_classes_than_a_batch_wants_are_padded(sampler):
    source_labels, target_labels, _ = sampler
    few = make_sampler(source_labels, target_labels, np.arange(7) == 5)
    (source_rows,), target_rows, classes = few.rows(3, key=0)
    np.testing.assert_array_equal(classes, [5, -1, -1])
    assert (source_rows[:2] >= 0).all() and (source_rows[2:] == -1).all()
    assert (target_rows[:3] >= 0).all() and (target_rows[3:] == -1).all()


def test_a_class_with_too_few_images_is_padded():
    sampler = make_sampler([0, 1, 1, 1], [1, 0, 0], [True, True], num_selected=2)
    (source_rows,), target_rows, classes = sampler.rows(0, key=0)
    by_class = {
        c: (s, t)
        for c, s, t in zip(
            classes, source_rows.reshape(2, 2), target_rows.reshape(2, 3), strict=True
        )
    }
    np.testing.assert_array_equal(by_class[0][0], [0, -1])
    np.testing.assert_array_equal(np.sort(by_class[0][1]), [-1, 1, 2])
    np.testing.assert_array_equal(by_class[1][1], [0, -1, -1])


def test_when_no_class_is_kept_everything_is_padding_and_the_caller_decides_the_length(sampler):
    source_labels, target_labels, _ = sampler
    empty = make_sampler(source_labels, target_labels, np.zeros(7))
    (source_rows,), target_rows, classes = empty.rows(0, key=0)
    assert all((part == -1).all() for part in (source_rows, target_rows, classes))
    assert empty.num_batches == 0 and empty.iterations(when_no_class_is_kept=20) == 20


def test_a_target_of_filtered_images_only_gives_padding():
    sampler = make_sampler([0, 0], [-1, -1], [True], num_selected=1)
    (source_rows,), target_rows, classes = sampler.rows(0, key=0)
    assert set(source_rows) == {0, 1} and (target_rows == -1).all() and classes[0] == 0


def test_a_class_aware_step_can_be_asked_for_directly_and_differs_with_the_key(sampler):
    def rows(step, key):
        (source_rows,), target_rows, classes = sampler[2].rows(step, key)
        return np.concatenate([source_rows, target_rows, classes])

    in_order = [rows(step, key=8) for step in range(20)]
    np.testing.assert_array_equal(in_order[17], rows(17, key=8))
    assert any((a != rows(step, key=9)).any() for step, a in enumerate(in_order))


def test_several_sources_stand_in_the_same_class_blocks_and_a_class_may_be_missing_in_one():
    # the second has one image of class 0 and none of class 1
    sources = np.repeat([0, 1, 2], 5), np.repeat([0, 2], [1, 6])
    target = np.repeat([0, 1, 2], 4)
    sampler = ClassAwareSampler.from_labels(
        sources,
        target,
        np.ones(3, bool),
        num_selected=3,
        source_per_class=2,
        target_per_class=2,
        update_fraction=1.0,
    )
    # 2 + 2 + 3 batches of each class's longest domain, three classes at a time: 7 / 3, rounded up
    assert sampler.num_batches == 3
    (first, second), of_target, classes = sampler.rows(0, key=1)
    np.testing.assert_array_equal(sources[0][first], np.repeat(classes, 2))
    np.testing.assert_array_equal(target[of_target], np.repeat(classes, 2))
    by_class = dict(zip(classes.tolist(), second.reshape(3, 2), strict=True))
    assert (
        by_class[0][0] == 0
        and by_class[0][1] == -1
        and (by_class[1] == -1).all()
        and (sources[1][by_class[2]] == 2).all()
    )
