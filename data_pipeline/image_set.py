"""A named set of images, in memory or on disk, with or without class labels."""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from data_pipeline.errors import DataError


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """N images of one domain. Exactly one of `images` and `paths` is given.

    name: what messages call the set, e.g. "amazon" or "digits/type".
    class_names: K names; the position is the class id.
    labels: int32 [N] class ids in 0..K-1, or None when the set is unlabelled.
    images: uint8 [N, H, W, C], or None when the images are files.
    paths: N file names, or None when the images are in memory.
    Raises DataError when these do not fit together.
    """

    name: str
    class_names: tuple[str, ...]
    labels: np.ndarray | None = None
    images: np.ndarray | None = None
    paths: tuple[str, ...] | None = None

    def __post_init__(self):
        if (self.images is None) == (self.paths is None):
            raise DataError(f"{self.name}: give either images or paths, not both or neither")
        if self.images is not None and (self.images.dtype != np.uint8 or self.images.ndim != 4):
            raise DataError(f"{self.name}: images are {self.images.dtype} {list(self.images.shape)}; expected uint8 [N, H, W, C]")
        if self.labels is not None:
            self._check_labels()

    def _check_labels(self):
        if self.labels.dtype != np.int32 or self.labels.shape != (len(self),):
            raise DataError(
                f"{self.name}: labels are {self.labels.dtype} {list(self.labels.shape)}; expected int32 [{len(self)}]")
        num_classes = len(self.class_names)
        is_wrong = (self.labels < 0) | (self.labels >= num_classes)
        if is_wrong.any():
            first = int(np.argmax(is_wrong))
            raise DataError(
                f"{self.describe(first)}: label {self.labels[first]} is not one of the {num_classes} classes "
                f"(0..{num_classes - 1}); correct the label or the list of classes")

    def __len__(self):
        return len(self.paths if self.images is None else self.images)

    def describe(self, index: int) -> str:
        """The file of one image, or its set and position when it is in memory."""
        return self.paths[index] if self.paths is not None else f"{self.name}[{index}]"

    def class_counts(self) -> np.ndarray:
        """Images per class, int64 [K]. Raises DataError on an unlabelled set."""
        if self.labels is None:
            raise DataError(f"{self.name}: class counts asked of a set without labels")
        return np.bincount(self.labels, minlength=len(self.class_names))

    def fingerprint(self) -> int:
        """A number that changes when the set gains, loses or relabels an image; files count by name and class folder."""
        names = [self.name, *self.class_names]
        if self.paths is not None:
            names += [path.rsplit("/", 2)[-1] for path in self.paths]
        value = zlib.crc32("\n".join(names).encode())
        if self.images is not None:
            value = zlib.crc32(self.images.tobytes(), value)
        return value if self.labels is None else zlib.crc32(self.labels.tobytes(), value)

    def without_labels(self) -> "ImageSet":
        """The same images as a set that holds no labels at all, for code that must not see them."""
        return dataclasses.replace(self, labels=None)


def merged(sets: Sequence[ImageSet]) -> ImageSet:
    """Several sets of the same classes as one, set after set; it has labels where all of them have.

    Raises: DataError when classes differ, or where they lie in memory and on disk, or are of several sizes.
    """
    first = sets[0]
    if len(sets) == 1:
        return first
    for other in sets[1:]:
        if other.class_names != first.class_names:
            raise DataError(f"{first.name} and {other.name} have other classes, or the same in another order; domains need the same ones")
        if (other.images is None) != (first.images is None):
            raise DataError(f"{first.name} and {other.name}: one is in memory, the other on disk; merge sets of one kind")
        if first.images is not None and other.images.shape[1:] != first.images.shape[1:]:
            raise DataError(f"{other.name}: images are {list(other.images.shape[1:])}, those of {first.name} {list(first.images.shape[1:])}")
    return ImageSet(
        "+".join(one.name for one in sets), first.class_names,
        labels=None if any(one.labels is None for one in sets) else np.concatenate([one.labels for one in sets]),
        images=None if first.images is None else np.concatenate([one.images for one in sets]),
        paths=None if first.images is not None else tuple(path for one in sets for path in one.paths),
    )
