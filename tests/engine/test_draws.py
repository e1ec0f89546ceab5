"""What one part, one stage or one pass draws says nothing of what another does: rows and
augmentation numbers, as the batches get them.
"""

import itertools
import types

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from dajax.tasks.classification.feed import Feed
from dajax.tasks.segmentation.feed import SegFeed
from data_pipeline import batch_parts
from data_pipeline.classification import pipeline
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.classification.transforms import Affine, Transform
from data_pipeline.segmentation import pipeline as seg_pipeline
from data_pipeline.segmentation.labels import CITYSCAPES
from data_pipeline.segmentation.segmentation_set import SegmentationSet

COUNT = 300  # images of every set, so that equal orders would show
BATCH, STEPS = 10, 25  # within an epoch of 30 steps
# Of 250 pairs a correlation of independent draws has a deviation of 1 / sqrt(250) = 0.063; 4.5 of
# them. Keys are fixed: it holds or it does not.
BOUND = 0.28
SETTINGS = ConfigDict(
    dict(num_classes=5, source_per_class=2, target_per_class=2, max_share=1.0, update_fraction=1.0)
)


def images(name, labels):
    return ImageSet(name, tuple("abcde"), labels, np.zeros((COUNT, 8, 8, 1), np.uint8))


@pytest.fixture(scope="module")
def labels():
    return (np.arange(COUNT) % 5).astype(np.int32)


def make_feed(labels, *, seed=0, stage="can", devices=1):
    sources = images("one", labels), images("two", labels)
    view = Transform((8, 8), mean=(0.5,), std=(0.5,), affine=Affine(0.1, 0.1, 0.1, 1.0))
    target = images("target", labels)
    return Feed(
        sources,
        target,
        target,
        transforms={"train": view, "eval": view.for_evaluation()},
        seed=seed,
        stage=stage,
        devices=jax.devices()[:devices],
    )


def make_seg_feed(*, seed=0, stage="spcl", directory=None):
    def some(name):
        paths = tuple(f"/nowhere/{name}/{i}.png" for i in range(COUNT))
        return SegmentationSet(name, paths, paths, CITYSCAPES, read_ids=None)

    transform = types.SimpleNamespace(
        num_uniforms=6, pad=False, num_further_crops=lambda is_wanted: 0
    )
    domains = types.SimpleNamespace(
        source=some("source"),
        target=some("target"),
        evaluation=some("evaluation"),
        class_names=CITYSCAPES.class_names,
        transforms={"source": transform, "target": transform, "evaluation": transform},
        strong_view=None,
        held_out=(),
    )
    return SegFeed(
        domains,
        seed=seed,
        stage=stage,
        directory=directory,
        devices=jax.devices()[:1],
        is_oracle=False,
    )


def drawn(part):
    """(rows int [STEPS * BATCH], augmentation numbers [STEPS * BATCH, k]) as the pipeline chooses
    them for a part's batches.
    """
    task = seg_pipeline if isinstance(part, seg_pipeline.SegPart) else pipeline
    reader = task.Reader(part)
    chosen = [batch_parts.chosen(reader, step, len(part.rows(step))) for step in range(STEPS)]
    rows, numbers = ([x[name] for x in chosen] for name in ("index", "uniforms"))
    return np.concatenate(rows), np.concatenate(numbers)


def assert_independent(one, other):
    rows, numbers = zip(drawn(one), drawn(other), strict=True)
    assert (rows[0] == rows[1]).mean() < 0.1 and abs(np.corrcoef(*rows)[0, 1]) < BOUND
    for a, b in zip(numbers[0].T, numbers[1].T, strict=True):
        assert (a == b).mean() < 0.01 and abs(np.corrcoef(a, b)[0, 1]) < BOUND
    assert 0.3 < min(x.mean() for x in numbers) and numbers[0].std() > 0.2, "they are random at all"


def test_source_and_target_are_drawn_independently(labels):
    feed = make_feed(labels)
    parts = [feed.shuffled(name, BATCH) for name in ("source0", "source1", "target")]
    for one, other in itertools.combinations(parts, 2):
        assert_independent(one, other)


def test_source_and_target_of_a_segmenter_are_drawn_independently():
    feed = make_seg_feed()
    for source in (feed.shuffled_with_labels("source", BATCH), feed.shuffled("source", BATCH)):
        assert_independent(source, feed.shuffled("target", BATCH))


@pytest.mark.parametrize("changes", [{"seed": 1}, {"stage": "another"}], ids=["seeds", "stages"])
def test_two_seeds_and_two_stages_draw_independently(labels, changes):
    for domain in ("source0", "target"):
        assert_independent(
            make_feed(labels).shuffled(domain, BATCH),
            make_feed(labels, **changes).shuffled(domain, BATCH),
        )
    for domain in ("source", "target"):
        assert_independent(
            make_seg_feed().shuffled(domain, BATCH),
            make_seg_feed(**changes).shuffled(domain, BATCH),
        )


def test_the_same_seed_and_stage_draw_the_same(labels):
    for one, other in (
        (make_feed(labels), make_feed(labels, devices=2)),
        (make_seg_feed(), make_seg_feed()),
    ):
        for a, b in zip(
            drawn(one.shuffled("target", BATCH)),
            drawn(other.shuffled("target", BATCH)),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)


def class_aware(feed, labels, name="loop1"):
    (first, second), target = feed.class_aware(
        ("source0", "source1"), labels, np.ones(5, bool), SETTINGS, first_step=0, name=name
    )
    return first, second, target


def test_in_a_class_block_the_domains_draw_independently(labels):
    """The same classes in the same order, and within a class any image: rows of a class count as
    (row // 5), its place in the class.
    """
    parts = class_aware(make_feed(labels), labels)
    found = [drawn(part) for part in parts]
    for (rows, numbers), (other_rows, other_numbers) in itertools.combinations(found, 2):
        np.testing.assert_array_equal(rows % 5, other_rows % 5, "the blocks agree")
        assert (rows == other_rows).mean() < 0.1 and abs(
            np.corrcoef(rows // 5, other_rows // 5)[0, 1]
        ) < BOUND
        assert all(
            abs(np.corrcoef(a, b)[0, 1]) < BOUND
            for a, b in zip(numbers.T, other_numbers.T, strict=True)
        )


def test_a_loop_of_class_aware_batches_begins_at_its_first_step(labels):
    """A step is its place in the loop, whenever the loop began: resumed within it, a run sees the
    same rows.
    """

    def rows(first_step, step):
        sources, _ = make_feed(labels).class_aware(
            ("source0",), labels, np.ones(5, bool), SETTINGS, first_step=first_step, name="loop1"
        )
        return sources[0].rows(step)

    for step in (0, 1, 17):
        np.testing.assert_array_equal(rows(0, step), rows(40, 40 + step))
    assert (rows(0, 40) != rows(0, 0)).any()


@pytest.mark.parametrize("devices, rows", [(1, 10), (4, 12)])
def test_class_aware_rows_are_padded_to_the_devices_and_the_padding_is_masked(
    labels, devices, rows
):
    """Five classes of two images: 10 rows, and on four devices two more that are no image."""
    for part in class_aware(make_feed(labels, devices=devices), labels):
        found = part.rows(3)
        assert len(found) == rows and (found[:10] >= 0).all() and (found[10:] == -1).all()


def test_every_loop_of_class_aware_batches_and_the_batch_beside_them_draw_anew(labels):
    feed = make_feed(labels)
    for first, again in zip(
        class_aware(feed, labels), class_aware(feed, labels, name="loop2"), strict=True
    ):
        assert_independent(first, again)
    assert_independent(class_aware(feed, labels)[0], feed.shuffled("source0", BATCH))


def test_every_pass_over_a_set_has_views_of_its_own(labels):
    """Each clustering, and each set of a clustering, sees other random views; the order is that of
    the set.
    """
    feed, numbers = make_feed(labels), []
    made = []

    class Nothing:
        """Batches of a pass that nobody reads."""

        def __iter__(self):
            return iter(())

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    feed.steps = lambda parts, start, stop: made.append(parts["images"]) or Nothing()
    for domain, name in (
        ("target", "clustering1 target"),
        ("target", "clustering2 target"),
        ("source0", "clustering1 source0"),
    ):
        list(feed.sequence(domain, BATCH, views="train", name=name))
    for part in made:
        rows, found = drawn(part)
        np.testing.assert_array_equal(rows, np.arange(STEPS * BATCH))
        numbers.append(found)
    for one, other in itertools.combinations(numbers, 2):
        assert all(
            abs(np.corrcoef(a, b)[0, 1]) < BOUND for a, b in zip(one.T, other.T, strict=True)
        )


def test_class_balanced_rows_are_drawn_apart_from_the_shuffled_ones(monkeypatch, tmp_path):
    present = np.eye(5, dtype=bool)[np.arange(COUNT) % 5]
    monkeypatch.setattr(
        "data_pipeline.segmentation.class_balanced.classes_present", lambda *args, **kwargs: present
    )
    feed, other = (
        make_seg_feed(directory=tmp_path / "stage", stage=stage) for stage in ("spcl", "warm_up")
    )
    balanced = feed.class_balanced(BATCH)
    rows = [
        np.concatenate([part.rows(step) for step in range(STEPS)])
        for part in (
            balanced,
            feed.shuffled("source", BATCH),
            feed.shuffled("target", BATCH),
            other.class_balanced(BATCH),
        )
    ]
    for one, other_rows in itertools.combinations(rows, 2):
        assert (one == other_rows).mean() < 0.1 and abs(np.corrcoef(one, other_rows)[0, 1]) < BOUND
