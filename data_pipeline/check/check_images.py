"""check_data's part on sets of images with one label each."""

import collections
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from data_pipeline.check.file_checks import broken
from data_pipeline.check.official import describe_other_count, official_count
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.classification.list_files import left_out_of
from data_pipeline.errors import DataError
from data_pipeline.files.folder_scan import describe


class Wrong(NamedTuple):
    """A finding: its kind and its line."""

    kind: str
    line: str


class Treatments:
    """Counts the images of a domain by treatment (see decode.Picture), with one name of each."""

    def __init__(self):
        self._counts, self._examples = collections.Counter(), {}

    def add(self, treatments: Iterable[str], name: str):
        """Counts those of the image `name`."""
        for treatment in treatments:
            self._counts[treatment] += 1
            self._examples.setdefault(treatment, name)

    def lines(self) -> list[str]:
        """Remarks of the report, one for each treatment."""
        return [
            f"  {count:,} images {treatment}: {self._examples[treatment]} for one"
            for treatment, count in self._counts.items()
        ]


def num_encoded(images: ImageSet) -> int:
    """Images that are to be decoded; those in memory have no way to be broken."""
    return 0 if images.images is not None else len(images)


def check_images(
    role: str,
    images: ImageSet,
    read_all: Callable[[Callable[[Any], Any], Iterable], Iterator],
    problems: dict[str, list[str]],
) -> list[str]:
    """Decodes every image; compares counts and files with the official ones and with the lists.

    Args:
      role: "source", "target" or "evaluation".
      read_all: (function, items) -> results, in parallel.
      problems: {kind: lines}, to which findings are added; a remark that needs no action is a line
        of the report.
    Returns: the lines of the report.
    """
    treated = Treatments()

    def examine(index):
        return _examine(images, index)

    # read_all's iterator has no name: a traceback would hold it, and with it the queued files.
    for index, found in enumerate(read_all(examine, range(num_encoded(images)))):
        if isinstance(found, Wrong):
            problems[found.kind].append(found.line)
        else:
            treated.add(found, images.describe(index))
    official = official_count(images.name)
    other_count = describe_other_count(images.name, len(images))
    if other_count:
        problems["incomplete" if len(images) < official else "surplus"].append(
            f"{images.name}: {other_count}"
        )
    classes = "unlabelled" if images.labels is None else f"{len(images.class_names)} classes"
    lines = [
        f"{role}: {images.name}: {len(images):,} images, {classes}"
        + (f" (official: {official:,})" if official else "")
    ]
    lines += treated.lines()
    if images.listed:
        lines += _compare_with_lists(images, problems)
    lines += [f"  {line}" for line in describe(left_out_of(images))]
    if images.labels is not None:
        return lines + _count_classes(images, problems)
    if role.startswith("source"):
        problems["no labels"].append(
            f"{images.name}: a source needs labels; found none: sort its images into a folder for"
            " each class"
        )
    return lines


def _examine(images, index) -> "Wrong | tuple[str, ...]":
    """What is wrong with an image, or what was done to its pixels."""
    line = broken(images.paths[index]) if images.paths is not None else None
    if line:
        return Wrong("unreadable" if os.path.exists(images.paths[index]) else "missing", line)
    try:
        return images.read_picture(index).treatments
    except DataError as error:
        return Wrong("unreadable", str(error))


def _compare_with_lists(images, problems) -> list[str]:
    """An image that the lists name twice is a finding. One that they do not name is none: the
    uncleaned archives of DomainNet hold such images.
    """
    twice = listed_twice(images)
    if twice:
        problems["listed twice"] += twice
    return [f"  named by {', '.join(images.listed.files)}"]


def listed_twice(images: ImageSet) -> list[str]:
    """A line for each image that more than one line of its lists names."""
    if not images.listed or len(set(images.paths)) == len(images):
        return []
    return [
        f"{path}: {number} lines of {' and '.join(images.listed.files)} name it; expected one:"
        " remove the others"
        for path, number in collections.Counter(images.paths).items()
        if number > 1
    ]


def classes_without_images(images: ImageSet) -> list[str]:
    """Names of the classes that no image of a labelled set has."""
    return [
        name
        for name, count in zip(images.class_names, images.class_counts(), strict=True)
        if not count
    ]


def _count_classes(images, problems) -> list[str]:
    """A line for each class. A class without an image is a finding where the set lies in memory;
    lists and tfds may name classes that a split lacks.
    """
    absent, width = classes_without_images(images), max(map(len, images.class_names))
    counted = zip(images.class_names, images.class_counts(), strict=True)
    lines = [f"  {name:<{width}}  {count:>9,}" for name, count in counted]
    if images.images is None:
        return lines + ([f"  listed without an image: {', '.join(absent)}"] if absent else [])
    for name in absent:
        problems["no image of a class"].append(
            f"{images.name}: class {name!r} has no image; add some or remove the class"
        )
    return lines
