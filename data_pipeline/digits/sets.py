"""The embedded data set: rendered digits as sources, real handwriting as target. Nothing is
downloaded.

Sources: the digits 0-9 set in the fonts that matplotlib ships, in the worlds of `worlds`.
Target: the 1,797 handwritten digits (8x8) of sklearn.datasets.load_digits, the test part of UCI
optdigits (Alpaydin and Kaynak 1998).
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from data_pipeline.classification.image_set import ImageSet
from data_pipeline.digits import worlds as digit_worlds
from data_pipeline.errors import DataError
from data_pipeline.sampling import make_key, uniforms

CLASS_NAMES = tuple("0123456789")


def source(world: str = "type", seed: int = 0, per_class: int = 400, size: int = 32) -> ImageSet:
    """Rendered digits of one world, bright on dark: grey uint8 [10*per_class, size, size, 1], class
    after class.

    Font, size, slant, stroke, position and the world's own look vary. Image i of a class depends on
    (seed, world, class, i) only.
    """
    name = f"digits/{world}"
    key, width = make_key(seed, name), digit_worlds.num_uniforms(world, size)
    images = np.empty((10, per_class, size, size, 1), np.uint8)
    for digit in range(10):
        for i, numbers in enumerate(uniforms(digit, per_class, width, key)):
            images[digit, i, :, :, 0] = digit_worlds.draw(world, CLASS_NAMES[digit], numbers, size)
    labels = np.repeat(np.arange(10, dtype=np.int32), per_class)
    return ImageSet(name, CLASS_NAMES, labels, images.reshape(-1, size, size, 1))


def target(size: int = 32) -> ImageSet:
    """Handwritten digits: grey uint8 [1797, size, size, 1].

    The 8x8 images are enlarged (bicubic) to 7/8 of the size, because optdigits crops its digits
    without any border.
    """
    # Here, because importing scikit-learn takes a second.
    from sklearn.datasets import load_digits

    digits = load_digits()
    margin = size // 16
    inner = size - 2 * margin
    images = np.zeros((len(digits.images), size, size, 1), np.uint8)
    small = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # ink counts 0..16 -> 0..255
    for i, image in enumerate(small):
        enlarged = Image.fromarray(image).resize((inner, inner), Image.Resampling.BICUBIC)
        images[i, margin : margin + inner, margin : margin + inner, 0] = np.asarray(enlarged)
    return ImageSet("digits/handwriting", CLASS_NAMES, digits.target.astype(np.int32), images)


def read_domains(
    sources: Sequence[str], seed: int, per_class: int, size: int
) -> tuple[tuple[ImageSet, ...], ImageSet]:
    """The named rendered worlds, and handwriting as the target, at one image size.

    Raises: DataError for an unknown world.
    """
    for name in sources:
        if name not in digit_worlds.WORLDS:
            known = ", ".join(digit_worlds.WORLDS)
            raise DataError(
                f"config.data.source: the digits have no world {name!r}; known: {known}, or"
                " several, joined by '+'"
            )
    return tuple(source(name, seed, per_class, size) for name in sources), target(size)
