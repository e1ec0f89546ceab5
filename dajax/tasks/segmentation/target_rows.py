"""Which rows of the target, and of the source beside it, methods of pseudo-labels see."""

import numpy as np

from dajax.errors import UserError


def mixed(places, num_target, source_rows):
    """{"source": f, "target": f}, step -> rows of CBST's batches, -1 where a row is the other
    domain's.

    Args:
      places: step -> int64 [R], places in the list of all target images and then `source_rows`.
      num_target: of the target's images.
      source_rows: int64 [n], the rows of the source that are in the list.
    """
    of_both = np.concatenate([np.arange(num_target), source_rows])

    def rows(is_source):
        def of_step(step):
            found = places(step)
            return np.where((found >= num_target) == is_source, of_both[found], -1)

        return of_step

    return {"source": rows(True), "target": rows(False)}


def easy_and_hard(entropies, share, count, key):
    """(rows of the easy images, of the hard ones), int64, in ascending order of entropy (IntraDA).

    Args:
      entropies: of each image, or None where none are known.
      share: of the images that is easy.
      count: of the images.
      key: of `share`, for messages.

    Raises:
      UserError: no entropies, or all images or none would be easy.
    """
    easy = int(share * count)
    if not entropies or not 0 < easy < count:
        raise UserError(
            f"{key}={share}: {easy:,} of {count:,} images would be easy, by"
            f" {len(entropies or ()):,} entropies; expected some easy and some hard ones, and"
            " pseudo-labels that this version has made"
        )
    order = np.argsort(entropies, kind="stable")
    return order[:easy], order[easy:]
