"""Which images of a set are held out, of pictures and of frames alike."""

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.sampling import random_subset


def held_out_rows(count: int, share: float, order: int, *, key: str, name: str) -> np.ndarray:
    """The rows of a share of `count` images, rounded to a number of images: int64, ascending.

    Args:
      share: above 0 and below 1.
      order: key of the choice, see sampling.make_key.
      key, name: what the user has set, and the set's name, for messages.
    Raises: DataError where the share or what is left would be empty.
    """
    held_out = round(count * share)
    if not 0 < held_out < count:
        raise DataError(
            f"{key}={share:g}: {held_out} of the {count} images of {name}; expected at least one"
            " image in either part"
        )
    return random_subset(count, held_out, order)
