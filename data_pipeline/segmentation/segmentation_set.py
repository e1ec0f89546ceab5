"""A named set of images on disk with, or without, a label of every pixel."""

import dataclasses
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from data_pipeline.decode import image_size_hw, read_image
from data_pipeline.errors import DataError
from data_pipeline.files.file_sizes import add_sizes
from data_pipeline.files.folder_scan import LeftOut
from data_pipeline.files.names import normal
from data_pipeline.files.resized_cache import ResizedCache
from data_pipeline.segmentation.labels import LabelSpace, map_ids


@dataclasses.dataclass(frozen=True)
class SegmentationSet:
    """N image files of one domain and their N label files.

    Attributes:
      name: what messages call the set, e.g. "gta5".
      image_paths: N file names.
      label_paths: N file names in the same order, or None when the set is unlabelled.
      space: what the ids in the label files mean.
      read_ids: path -> ids of the file, uint8 or uint16 [H, W].
      size_tolerance: how far a side of a label may be off its image's, as a fraction; such a label
        is resized (nearest) to the image.
      left_out: files that its reader saw and does not use.
      label_scale: size of a label over that of its image, where the two are published so; such a
        label keeps its size.
      label_hw: path -> (height, width) of a label, from the head of its file.
      draft: whether a large JPEG may be decoded at a smaller scale before it is resized, see
        decode.read_picture; never in a published set, and never a label.
      cache: ResizedCache of the resized images, or None.
    Raises: DataError when the set is empty or the numbers of images and labels differ.
    """

    name: str
    image_paths: tuple[str, ...]
    label_paths: tuple[str, ...] | None
    space: LabelSpace
    read_ids: Callable[[str], np.ndarray]
    size_tolerance: float = 0.0
    left_out: tuple[LeftOut, ...] = ()
    label_scale: float = 1.0
    label_hw: Callable[[str], tuple[int, int]] = image_size_hw
    draft: bool = False
    cache: ResizedCache | None = None

    def __post_init__(self):
        if not self.image_paths:
            raise DataError(f"{self.name}: a set without images; expected at least one")
        if self.label_paths is not None and len(self.label_paths) != len(self.image_paths):
            raise DataError(
                f"{self.name}: {len(self.image_paths)} images and {len(self.label_paths)} labels;"
                " expected as many"
            )

    def __len__(self):
        return len(self.image_paths)

    @property
    def has_labels(self) -> bool:
        """Whether every image has a label file."""
        return self.label_paths is not None

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names in the order of the train ids."""
        return self.space.class_names

    @property
    def num_classes(self) -> int:
        """K."""
        return self.space.num_classes

    def describe(self, index: int) -> str:
        """The file of one image."""
        return self.image_paths[index]

    def fingerprint(self, version: int = 1) -> int:
        """A number that changes when the set gains, loses or renames an image, or its ids mean
        other classes.

        Args:
          version: 1, or 2 to cover the sizes of images and labels too, and to take no notice of
            Unicode forms. Where the files lie is not covered.
        Raises: DataError, version 2 alone, when a file is gone.
        """
        files = [path.rsplit("/", 1)[-1] for path in self.image_paths]
        names = [self.name, *self.class_names, *(map(normal, files) if version > 1 else files)]
        value = zlib.crc32("\n".join(names).encode(errors="surrogateescape"))
        if version > 1:
            value = add_sizes(value, (*self.image_paths, *(self.label_paths or ())))
        return value if self.label_paths is None else zlib.crc32(self.space.lut.tobytes(), value)

    def chosen(self, rows: Sequence[int], name: str) -> "SegmentationSet":
        """The images of some rows as a set of that name; what its reader left out stays behind."""
        labels = self.label_paths
        return dataclasses.replace(
            self,
            name=name,
            image_paths=tuple(self.image_paths[row] for row in rows),
            label_paths=None if labels is None else tuple(labels[row] for row in rows),
        )

    def without_labels(self) -> "SegmentationSet":
        """The same images as a set that holds no labels at all, for code that must not see them."""
        return dataclasses.replace(self, label_paths=None)

    def read_image(self, index: int) -> np.ndarray:
        """One image as RGB, uint8 [H, W, 3]. Raises DataError, naming the file, when it cannot be
        decoded.
        """
        return read_image(self.image_paths[index])

    def read_label(self, index: int) -> np.ndarray:
        """One label as train ids, uint8 [H, W] with 255 for ignored pixels, of the size of its
        image times label_scale.

        Raises: DataError, naming the file, on a set without labels, a file that cannot be decoded,
        ids that the table does not know, and a label of another size than its image.
        """
        if self.label_paths is None:
            raise DataError(f"{self.name}: a label asked of a set without labels")
        path = self.label_paths[index]
        label = map_ids(self.read_ids(path), self.space, path)
        image_hw = image_size_hw(self.image_paths[index])
        if label.shape == image_hw and self.label_scale == 1:
            return label
        problem = size_mismatch(label.shape, image_hw, self.size_tolerance, self.label_scale)
        if problem:
            raise DataError(f"{path}: {problem} ({self.image_paths[index]})")
        if self.label_scale != 1:
            return label
        return np.asarray(Image.fromarray(label).resize(image_hw[::-1], Image.Resampling.NEAREST))


def size_mismatch(
    label_hw: tuple[int, int],
    image_hw: tuple[int, int],
    tolerance: float,
    label_scale: float = 1.0,
) -> str | None:
    """What is wrong with the sizes of a pair and the remedy; None when they differ by no more than
    the tolerance.

    Args:
      label_scale: size of the label over that of the image.
    """
    wanted_hw = (
        image_hw if label_scale == 1 else tuple(round(side * label_scale) for side in image_hw)
    )
    if all(
        abs(label - wanted) <= tolerance * wanted
        for label, wanted in zip(label_hw, wanted_hw, strict=True)
    ):
        return None
    turned = (
        ", as if one were turned: where an image has an orientation in its EXIF, it is applied to"
        " the image alone"
        if (label_hw == image_hw[::-1])
        else ""
    )
    expected = "the same size" if label_scale == 1 else f"a label of {wanted_hw[1]}x{wanted_hw[0]}"
    return (
        f"the label is {label_hw[1]}x{label_hw[0]} and its image {image_hw[1]}x{image_hw[0]} (width"
        f" x height){turned}; expected {expected}: replace the one that is wrong"
    )
