"""A named set of images, in memory, in files or in records, with or without class labels."""

import bisect
import dataclasses
import itertools
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from data_pipeline.classification.kept_images import NothingKept
from data_pipeline.decode import Picture, decode_picture, describe_error, read_picture
from data_pipeline.errors import DataError
from data_pipeline.files.file_sizes import add_sizes
from data_pipeline.files.folder_scan import LeftOut, gathered
from data_pipeline.files.names import normal
from data_pipeline.files.resized_cache import ResizedCache, found_or_made
from data_pipeline.preprocess import resize

_KINDS = ("images", "paths", "records")
_RECORDS_LOOKED_AT = 64  # of a set, by its fingerprint: a second on a slow disk


@dataclasses.dataclass(frozen=True)
class Listed:
    """That list files name a set's images, which is for check_data to compare with the disk.

    Attributes:
      base: the folder that the lists' paths are relative to.
      folder: all images of the domain lie below it.
      files: the list files of the domain, those of its other splits too.
    """

    base: str
    folder: str
    files: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """N images of one domain. Exactly one of `images`, `paths` and `records` is given.

    Attributes:
      name: what messages call the set, e.g. "office31/amazon" or "digits/type".
      class_names: K names; the position is the class id.
      labels: int32 [N] class ids in 0..K-1, or None when the set is unlabelled.
      images: uint8 [N, H, W, C] in memory, C 1 or 3.
      paths: N names of image files.
      records: N encoded images as bytes, in a sequence that gives any of them at once, from several
        threads.
      listed: given when the paths come from list files. Then a class may have no image; in class
        folders that is an error.
      left_out: files that its reader saw and does not use.
      kept: a place for each image, decoded and resized (see kept_images), or None.
      draft: whether a large JPEG may be decoded at a smaller scale before it is resized, see
        decode.read_picture; never in a published set.
      cache: ResizedCache of the resized images of `paths`, or None.
    Raises: DataError when these do not fit together, and for a set without images.
    """

    name: str
    class_names: tuple[str, ...]
    labels: np.ndarray | None = None
    images: np.ndarray | None = None
    paths: tuple[str, ...] | None = None
    records: Sequence[bytes] | None = None
    listed: Listed | None = None
    left_out: tuple[LeftOut, ...] = ()
    kept: Sequence[Any] | None = None
    draft: bool = False
    cache: ResizedCache | None = None

    def __post_init__(self):
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise DataError(
                f"{self.name}: {' and '.join(given) or 'nothing'} given; give one of"
                f" {', '.join(_KINDS)}"
            )
        if self.images is not None and (self.images.dtype != np.uint8 or self.images.ndim != 4):
            raise DataError(
                f"{self.name}: images are {self.images.dtype} {list(self.images.shape)}; expected"
                " uint8 [N, H, W, C]"
            )
        if not len(self):
            raise DataError(f"{self.name}: a set without images; expected at least one")
        if self.labels is not None:
            self._check_labels()

    def _check_labels(self):
        if self.labels.dtype != np.int32 or self.labels.shape != (len(self),):
            raise DataError(
                f"{self.name}: labels are {self.labels.dtype} {list(self.labels.shape)}; expected"
                f" int32 [{len(self)}]"
            )
        num_classes = len(self.class_names)
        is_wrong = (self.labels < 0) | (self.labels >= num_classes)
        if is_wrong.any():
            first = int(np.argmax(is_wrong))
            raise DataError(
                f"{self.describe(first)}: label {self.labels[first]} is not one of the"
                f" {num_classes} classes (0..{num_classes - 1}); correct the label or the list of"
                " classes"
            )

    @property
    def has_labels(self) -> bool:
        """Whether every image has a class."""
        return self.labels is not None

    @property
    def kind(self) -> str:
        """Which of the three is given: "images", "paths" or "records"."""
        return next(kind for kind in _KINDS if getattr(self, kind) is not None)

    @property
    def channels(self) -> int:
        """C of an image as it is read; files and records are read as RGB."""
        return 3 if self.images is None else self.images.shape[3]

    def __len__(self):
        return len(getattr(self, self.kind))

    def read(self, index: int) -> np.ndarray:
        """One image, uint8 [H, W, C]. Raises DataError, naming it, when it is missing or cannot be
        decoded.
        """
        return self.images[index] if self.images is not None else self.read_picture(index).pixels

    def resized(
        self,
        index: int,
        size_hw: tuple[int, int],
        read: Callable[[tuple[int, int] | None], np.ndarray],
    ) -> np.ndarray:
        """One image brought to a size (see preprocess.resize), uint8 [h, w, C]; from its place in
        memory, or from the cache, where it is there, read-only then.

        Args:
          read: gives the image, for the size that it is needed at or None, see read_picture; called
            where it is in neither.
        """
        place = None if self.kept is None else self.kept[index]
        found = None if place is None else place.find(size_hw)
        if found is None:
            found = self._resized_from_file(index, size_hw, read)
            if place is not None:
                place.put(found)
        return found

    def _resized_from_file(self, index, size_hw, read):
        def make():
            return resize(read(size_hw if self.draft else None), size_hw)

        if self.cache is None or self.paths is None:
            return make()
        resample = int(Image.Resampling.BICUBIC)  # of preprocess.resize
        return found_or_made(self.cache, self.paths[index], size_hw, resample, self.draft, make)

    def read_picture(self, index: int, needed_hw: tuple[int, int] | None = None) -> Picture:
        """One image of a file or record, with what was done to its pixels. Raises as `read`.

        Args:
          needed_hw: of a file, see decode.read_picture; None for all of its pixels.
        """
        if self.paths is not None:
            return read_picture(self.paths[index], needed_hw)
        return decode_picture(self._record(index), self.describe(index))

    def _record(self, index: int) -> bytes:
        try:
            return self.records[index]
        # what a reader of records raises for a broken one is its own affair
        except Exception as error:
            raise DataError(
                f"{self.describe(index)}: cannot be read: {describe_error(error)}; prepare the data"
                " set again"
            ) from error

    def describe(self, index: int) -> str:
        """The file of one image, or its set and position when it has none of its own."""
        return self.paths[index] if self.paths is not None else f"{self.name}[{index}]"

    def class_counts(self) -> np.ndarray:
        """Images per class, int64 [K]. Raises DataError on an unlabelled set."""
        if self.labels is None:
            raise DataError(f"{self.name}: class counts asked of a set without labels")
        return np.bincount(self.labels, minlength=len(self.class_names))

    def fingerprint(self, version: int = 1) -> int:
        """A number that changes when the set gains, loses or relabels an image.

        Covers every pixel of images in memory, and nowhere the place where files lie.

        Args:
          version: 1 covers the names of files, as their bytes are, and the first and the last
            record. 2 covers names whose Unicode form does not matter, since a copy may change it,
            and the sizes of files; and more records between the first and the last.
        Raises: DataError when a record cannot be read, and, version 2 alone, when a file is gone.
        """
        names = [self.name, *self.class_names]
        if self.paths is not None:
            files = [path.rsplit("/", 2)[-1] for path in self.paths]
            names += map(normal, files) if version > 1 else files
        value = zlib.crc32("\n".join(names).encode(errors="surrogateescape"))
        if self.paths is not None and version > 1:
            value = add_sizes(value, self.paths)
        if self.images is not None:
            value = zlib.crc32(self.images.tobytes(), value)
        if self.records is not None:
            value = zlib.crc32(
                b"%d %b %b" % (len(self), self._record(0), self._record(len(self) - 1)), value
            )
            every = max(len(self) // _RECORDS_LOOKED_AT, 1)
            for index in range(0, len(self), every) if version > 1 else ():
                value = zlib.crc32(self._record(index), value)
        return value if self.labels is None else zlib.crc32(self.labels.tobytes(), value)

    def without_labels(self) -> "ImageSet":
        """The same images as a set that holds no labels at all, for code that must not see them."""
        return dataclasses.replace(self, labels=None)


class _Chained(Sequence):
    """Several sequences one after the other, without copying them."""

    def __init__(self, parts):
        self._parts = parts
        self._ends = list(itertools.accumulate(map(len, parts)))

    def __len__(self):
        return self._ends[-1]

    def __getitem__(self, index):
        row = range(len(self))[index]  # from the end, too; raises IndexError
        position = bisect.bisect_right(self._ends, row)
        part = self._parts[position]
        return part[row - self._ends[position] + len(part)]


def merged(sets: Sequence[ImageSet]) -> ImageSet:
    """Several sets of the same classes as one, set after set; it has labels where all of them have.

    Raises: DataError when classes differ, or where they lie in memory and on disk, or are of
    several sizes.
    """
    first = sets[0]
    if len(sets) == 1:
        return first
    for other in sets[1:]:
        if other.class_names != first.class_names:
            raise DataError(
                f"{first.name} and {other.name} have other classes, or the same in another order;"
                " domains need the same ones"
            )
        if other.kind != first.kind:
            raise DataError(
                f"{first.name} has {first.kind}, {other.name} {other.kind}; merge sets of one kind"
            )
        if first.images is not None and other.images.shape[1:] != first.images.shape[1:]:
            raise DataError(
                f"{other.name}: images are {list(other.images.shape[1:])}, those of {first.name}"
                f" {list(first.images.shape[1:])}"
            )
    parts = [getattr(one, one.kind) for one in sets]
    join = {
        "images": np.concatenate,
        "paths": lambda paths: tuple(itertools.chain(*paths)),
        "records": _Chained,
    }[first.kind]
    labels = (
        None
        if any(one.labels is None for one in sets)
        else np.concatenate([one.labels for one in sets])
    )
    left_out = gathered(part for one in sets for part in one.left_out)
    are_kept = any(one.kept is not None for one in sets)
    kept = [NothingKept(len(one)) if one.kept is None else one.kept for one in sets]
    return ImageSet(
        "+".join(one.name for one in sets),
        first.class_names,
        labels,
        **{first.kind: join(parts)},
        left_out=left_out,
        kept=_Chained(kept) if are_kept else None,
        draft=all(one.draft for one in sets),
        cache=first.cache,
    )
