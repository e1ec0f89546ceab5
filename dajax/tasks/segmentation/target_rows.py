"""Which rows of the target, and of the source beside it, methods of pseudo-labels see, and which of
its classes are rare.
"""

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


def rare_predictions(pixels, share):
    """The classes with less than a share of all predicted pixels, the rarest first, those without
    any among them: int64 [R] (`mine_id` of CRST's crst_seg.py).

    Args:
      pixels: int [N, K], that each class is predicted for in each image; some, in all.
      share: of the pixels of all images.
    """
    shares = np.sum(pixels, 0) / np.sum(pixels)
    order = np.argsort(shares, kind="stable")
    return order[shares[order] < share]


def rare_factors(pixels, classes):
    """By what --normalize of IntraDA's entropy.py multiplies an image's entropy: float64 [N], from
    1.5, where it shows none of these classes, to 0.5, where it shows all.

    Args:
      pixels: int [N, K], that each class is predicted for in each image.
      classes: of rare classes, at least one.
    """
    missing = len(classes) - (np.asarray(pixels)[:, list(classes)] > 0).sum(1)
    return missing / len(classes) + 0.5


def easy_and_hard(entropies, share, count, key):
    """(rows of the easy images, of the hard ones), int64, in ascending order of entropy (IntraDA).

    Args:
      entropies: of each image, or what they are ranked by; None where none are known.
      share: of the images that is easy.
      count: of the images.
      key: of `share`, for messages.

    Raises:
      UserError: no entropies, or all images or none would be easy.
    """
    easy = int(share * count)
    if not 0 < easy < count:
        raise UserError(
            f"{key}={share}: {easy:,} of {count:,} images would be easy; expected some easy and"
            " some hard ones"
        )
    if entropies is None or not len(entropies):
        raise UserError(
            f"{key}={share}: the pseudo-labels have no entropies to rank the images by; expected"
            " some that this version has made"
        )
    order = np.argsort(entropies, kind="stable")
    return order[:easy], order[easy:]
