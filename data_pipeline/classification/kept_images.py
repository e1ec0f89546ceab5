"""Small sets are decoded once: their images are kept in memory, decoded and resized, and every
stage of a run reads them from there.

What is kept is what a transform makes of a file before anything random: the image brought to
`transform.resize`. Crop, flip and all that follows happen anew each time, on the same bits. So a
batch is the same with and without. A set whose transform has no resize is not kept: how large its
images are is not known before they are decoded.

Images that lie in memory already (the embedded digits) have nothing to keep.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

_MIB = 2**20
_CHANNELS = 3  # files and records are read as RGB


class KeptImages(Sequence):
    """Places for the images of one set, filled as they are first read; safe to use from several
    threads, and for several sets that hold the same images (the target with and without labels).

    Memory is taken from the system page by page as images arrive.

    Args:
      num_images: N.
      sizes_hw: the sizes (height, width) that images are kept at.
    """

    def __init__(self, num_images: int, sizes_hw: Sequence[tuple[int, int]]):
        self._pixels = {
            size: np.empty((num_images, *size, _CHANNELS), np.uint8) for size in sizes_hw
        }
        self._is_there = {size: np.zeros(num_images, bool) for size in sizes_hw}
        self._num_images = num_images

    def __len__(self):
        return self._num_images

    def __getitem__(self, row) -> "_Place":
        return _Place(self, range(self._num_images)[row])  # raises IndexError

    @property
    def num_bytes(self) -> int:
        """Of all images, once they are there."""
        return sum(pixels.nbytes for pixels in self._pixels.values())

    def find(self, row: int, size_hw: tuple[int, int]) -> np.ndarray | None:
        """The image, uint8 [h, w, 3] and read-only, or None."""
        if size_hw not in self._pixels or not self._is_there[size_hw][row]:
            return None
        found = self._pixels[size_hw][row]
        found.flags.writeable = False  # of this view of the pixels alone
        return found

    def put(self, row: int, image: np.ndarray) -> None:
        """Keeps an image, where its size is one of those that are kept."""
        size_hw = image.shape[:2]
        if size_hw in self._pixels:
            # Two threads may put the same image at once: they write the same bytes. The mark comes
            # last, so that no thread reads an image that is half there.
            self._pixels[size_hw][row] = image
            self._is_there[size_hw][row] = True


@dataclasses.dataclass(frozen=True)
class _Place:
    """One image of KeptImages, so that merged sets can chain the places of their parts."""

    kept: KeptImages
    row: int

    def find(self, size_hw):
        return self.kept.find(self.row, size_hw)

    def put(self, image):
        self.kept.put(self.row, image)


class NothingKept(Sequence):
    """The places of a set that is not kept, for a merged set of which other parts are."""

    def __init__(self, num_images: int):
        self._num_images = num_images

    def __len__(self):
        return self._num_images

    def __getitem__(self, row):
        return self

    def find(self, size_hw):
        return None

    def put(self, image):
        pass


def keep_small_sets(
    sets: Sequence[Any], sizes_hw: Sequence[tuple[int, int] | None], max_mib: float
) -> tuple[Any, ...]:
    """The same ImageSets, of which the smallest that fit into a bound together have places for
    their images. A set that is given twice stays one object.

    Args:
      sets: of a run. What its images take once they are resized counts of each, which is known
        before one is decoded.
      sizes_hw: what the transforms resize images to; None among them, and nothing is kept.
      max_mib: the bound in MiB (2**20 bytes), 0 for nothing.
    """
    distinct = {id(images): images for images in sets if images.images is None}
    if None in sizes_hw:
        return tuple(sets)
    sizes_hw = tuple(dict.fromkeys(sizes_hw))
    bytes_per_image = sum(height * width * _CHANNELS for height, width in sizes_hw)
    left, kept = max_mib * _MIB, {}
    for key, images in sorted(distinct.items(), key=lambda item: len(item[1])):
        left -= len(images) * bytes_per_image
        if left < 0:
            break
        places = KeptImages(len(images), sizes_hw)
        kept[key] = dataclasses.replace(images, kept=places)
    return tuple(kept.get(id(images), images) for images in sets)
