"""The data sets that a config can name."""

from typing import NamedTuple

from data_pipeline import digits, folder
from data_pipeline.errors import DataError
from data_pipeline.image_set import ImageSet

KNOWN = ("digits", "folder")


class Opened(NamedTuple):
    """The sets of a config: labelled sources, the target to adapt to, and the target images that figures are measured on."""

    sources: tuple[ImageSet, ...]
    target: ImageSet
    evaluation: ImageSet


def load_domains(data_config) -> Opened:
    """The source sets and the target sets of a config.

    data_config.dataset: "digits" (reads seed, per_class, size) or "folder" (reads root). Both read source, the name of one domain or of
    several, "amazon+dslr", and target.
    The target keeps its labels where it has any, for evaluation; training must take `target.without_labels()`.
    Raises: DataError for an unknown name, and whatever the reader finds wrong.
    """
    if data_config.dataset == "digits":
        sources, target = digits.read_domains(_names(data_config.source), data_config.seed, data_config.per_class, data_config.size)
    elif data_config.dataset == "folder":
        sources, target = folder.read_domains(data_config.root, _names(data_config.source), data_config.target)
    else:
        raise DataError(f"unknown data set {data_config.dataset!r}; known: {', '.join(KNOWN)}; set config.data.dataset")
    return Opened(sources, target, target)


def _names(source) -> tuple[str, ...]:
    """"a+b" -> ("a", "b")."""
    names = tuple(name.strip() for name in source.split("+"))
    for i, name in enumerate(names):
        if name in names[:i]:
            raise DataError(f"config.data.source={source!r}: {name!r} stands there twice; name each source once")
    return names
