"""Some of a set's images, by a list of their files, as CRST has one of the target images that it
trains on.
"""

import os

from data_pipeline.errors import DataError
from data_pipeline.files.names import normal
from data_pipeline.files.text_files import lines_of, read_text
from data_pipeline.segmentation.segmentation_set import SegmentationSet


def listed_in(images: SegmentationSet, path: str, key: str) -> SegmentationSet:
    """The images that a file names, in the order of the set.

    Args:
      path: a text file; of a line counts what stands before the first space, the path of an image
        or its end: "x.png" as well as "leftImg8bit/train/aachen/x.png".
      key: of the config, for messages.
    Raises: DataError, naming the line, for one that is the end of no image's path, or of several,
      and for a file without lines or that cannot be read.
    """
    expected = "the path of an image a line"
    text = read_text(os.path.expanduser(path), expected, holds_file_names=True)
    lines = [(n, line.split()[0]) for n, line in enumerate(lines_of(text), 1) if line.split()]
    if not lines:
        raise DataError(f"{key}={path}: has no lines; expected {expected}")
    by_name = {}
    for row, image in enumerate(images.image_paths):
        by_name.setdefault(normal(os.path.basename(image)), []).append(row)
    chosen = set()
    for number, line in lines:
        entry = normal(line)
        rows = by_name.get(os.path.basename(entry), [])
        if len(rows) > 1:
            rows = [row for row in rows if normal(images.image_paths[row]).endswith(f"/{entry}")]
        if len(rows) != 1:
            found = "several images" if rows else "no image"
            raise DataError(
                f"{key}={path}: line {number}, {line!r}, is {found} of {images.name}; expected"
                f" {expected}, or its end"
            )
        chosen.add(rows[0])
    return images.chosen(sorted(chosen), images.name)
