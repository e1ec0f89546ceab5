"""What would stop a run over its files, found before its first step and without decoding more than
a few of them.

check_data decodes everything; whatever is found here it finds as well, by the same functions.
"""

from collections.abc import Sequence

import numpy as np

from data_pipeline.check.file_checks import broken_files, each
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.classification.transforms import Transform, check_set
from data_pipeline.errors import DataError
from data_pipeline.segmentation.segmentation_set import (
    SegmentationSet,
    image_size_hw,
    size_mismatch,
)
from data_pipeline.segmentation.train_ids import check_first_labels
from data_pipeline.segmentation.transforms import SegTransform

# Headers read of a set whose images are resized, so that their sizes do not matter: a fifth of a
# second finds most downloads gone wrong.
_NUM_HEADERS = 2000
_NUM_RECORDS = 64  # decoded of a set of records, which have no headers of their own


def image_set_problems(
    images: ImageSet, transforms: Sequence[Transform], *, files: bool = True
) -> list[str]:
    """A line for each thing that stops training on a set: a transform that does not fit, broken
    files, files that are no images, images that are too small.

    Where sizes decide, the headers of all files are read; otherwise those of a sample spread over
    the set. Of records a sample is decoded.

    Args:
      files: False where every file is known to be readable, or reported. Then only sizes are looked
        at, and those of all records.
    """
    try:
        for transform in transforms:
            check_set(images, transform, images.name)
    except DataError as error:
        return [str(error)]
    cropping = [transform for transform in transforms if transform.resize_hw is None]
    sizes_decide = bool(cropping)
    if images.images is not None or not (files or sizes_decide):
        return []
    found = broken_files(images.paths) if files and images.paths is not None else []
    if found:
        return found
    most = _NUM_RECORDS if images.paths is None else _NUM_HEADERS
    reads_all = sizes_decide and (images.paths is not None or not files)
    count = len(images) if reads_all else min(len(images), most)
    rows = np.unique(np.linspace(0, len(images) - 1, count).round().astype(int)).tolist()

    def size_of(row):
        return (
            image_size_hw(images.paths[row])
            if images.paths is not None
            else images.read(row).shape[:2]
        )

    def check(size_hw, row):
        for transform in cropping:
            transform.check_input(size_hw, f"{images.describe(row)}: the image")

    return _check_sizes(size_of, rows, check, report_unreadable=files)


def segmentation_problems(
    images: SegmentationSet, transforms: Sequence[SegTransform], *, files: bool = True
) -> list[str]:
    """A line for each thing that stops training on a set: broken files, files that are no images,
    images that are too small for the crop of a transform, labels of another size than their images,
    and what a few of the labels hold.

    All headers are read, about 0.1 ms each.

    Args:
      files: as image_set_problems'.
    """
    found = broken_files(images.image_paths + (images.label_paths or ())) if files else []
    if found:
        return found

    def check(size_hw, row):
        if files and images.label_paths is not None:
            label = images.label_paths[row]
            problem = size_mismatch(
                images.label_hw(label), size_hw, images.size_tolerance, images.label_scale
            )
            if problem:
                raise DataError(f"{label}: {problem} ({images.image_paths[row]})")
        check_crops(images.image_paths[row], size_hw, transforms)

    found = _check_sizes(
        lambda row: image_size_hw(images.image_paths[row]),
        range(len(images)),
        check,
        report_unreadable=files,
    )
    if files:
        try:
            check_first_labels(images)
        except DataError as error:
            found.append(str(error))
    return found


def check_crops(path: str, size_hw: tuple[int, int], transforms: Sequence[SegTransform]) -> None:
    """Raises DataError, naming the file, when an image of this size can become too small for one of
    the transforms.
    """
    for transform in transforms:
        try:
            transform.check_input(size_hw)
        except DataError as error:
            raise DataError(
                f"{path}: an image of {size_hw[1]}x{size_hw[0]} (width x height): {error}"
            ) from error


def _check_sizes(size_of, rows, check, report_unreadable) -> list[str]:
    """A line for each row whose size, size_of(row), check(size, row) refuses; and, with
    report_unreadable, for each row whose size cannot be read.
    """

    def problem(row):
        try:
            size_hw = size_of(row)
        except DataError as error:
            return str(error) if report_unreadable else None
        try:
            check(size_hw, row)
        except DataError as error:
            return str(error)

    return [line for line in each(problem, rows) if line]
