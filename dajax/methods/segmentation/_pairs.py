"""Source and target images that one image or one batch is made of: which pairs of sizes there may
be, and that both have one size.
"""

import itertools

from dajax.errors import UserError


def possible(data, target="target"):
    """Every (source part, target part) that a batch may consist of, of jax.ShapeDtypeStruct.

    Args:
      data: the task's feed, see its `shapes`.
      target: key of config.data.transforms.
    """
    return itertools.product(data.shapes("source"), data.shapes(target))


def check_one_size(source, target, reason, remedy, *, of_source=("image",), of_target=("image",)):
    """Raises UserError where not all of these have one height and width.

    Args:
      source, target: parts of a batch.
      reason: why they must, a sentence without its end.
      remedy: what the user can set.
      of_source, of_target: the keys of a part that count, of image and label.
    """
    sizes = {
        f"{domain} {key}": part[key].shape[1:3]
        for domain, part, keys in (("source", source, of_source), ("target", target, of_target))
        for key in keys
    }
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} {height}x{width}" for name, (height, width) in sizes.items())
        raise UserError(
            f"config.data.transforms: {reason}, so they must have one size (height x width); found"
            f" {found}; {remedy}"
        )
