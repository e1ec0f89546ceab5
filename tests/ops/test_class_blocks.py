"""What a class-aware batch consists of."""

import pytest
from ml_collections import ConfigDict

from dajax.ops.class_blocks import batch_sizes


def sizes(num_classes, *, wanted=10, source=3, target=3, max_share=0.4):
    settings = ConfigDict(
        dict(
            num_classes=wanted,
            source_per_class=source,
            target_per_class=target,
            max_share=max_share,
        )
    )
    return batch_sizes(settings, num_classes)


@pytest.mark.parametrize(
    ("num_classes", "expected"),
    [
        (2, (2, 15, 15)),  # there is no loss between classes with one
        (5, (2, 15, 15)),
        (7, (3, 10, 10)),
        (10, (4, 8, 8)),  # 7.5 images, rounded up
        (12, (5, 6, 6)),
        (25, (10, 3, 3)),
        (31, (10, 3, 3)),
        (345, (10, 3, 3)),
    ],
)
def test_a_share_of_few_classes_has_more_images_of_each(num_classes, expected):
    assert sizes(num_classes) == expected


def test_the_domains_keep_their_proportion():
    assert sizes(10, source=2, target=6) == (4, 5, 15)


@pytest.mark.parametrize("num_classes", [3, 10, 31])
def test_all_classes_as_a_share_change_nothing(num_classes):
    """More classes than there are stay as padding, as in the authors' batches."""
    assert sizes(num_classes, max_share=1.0) == (10, 3, 3)


def test_fewer_classes_than_the_share_are_as_they_are_set():
    assert sizes(10, wanted=3, source=2, target=5) == (3, 2, 5)
