"""The data sets that a config can name."""

from data_pipeline import digits, folder
from data_pipeline.errors import DataError
from data_pipeline.image_set import ImageSet

KNOWN = ("digits", "folder")


def load_domains(data_config) -> tuple[ImageSet, ImageSet]:
    """The source and target set of a config.

    data_config.dataset: "digits" (reads seed, per_class, size) or "folder" (reads root, source, target).
    The target keeps its labels where it has any, for evaluation; training must take `target.without_labels()`.
    Raises: DataError for an unknown name, and whatever the reader finds wrong.
    """
    if data_config.dataset == "digits":
        return digits.read_pair(data_config.seed, data_config.per_class, data_config.size)
    if data_config.dataset == "folder":
        return folder.read_pair(data_config.root, data_config.source, data_config.target)
    raise DataError(f"unknown data set {data_config.dataset!r}; known: {', '.join(KNOWN)}; set config.data.dataset")
