"""PACS (Li et al., ICCV 2017) as downloaded:
`<root>/<art_painting|cartoon|photo|sketch>/<class>/*`, JPEG but for the PNG of sketch.

The root is the folder that holds the domains' folders, `kfold` or `pacs_data` in some archives. The
domains are read whole; the lists of splits (`*_kfold.txt`), made for domain generalisation, are not
needed.
"""

import os
from collections.abc import Sequence

from data_pipeline.classification import folder
from data_pipeline.classification.image_set import ImageSet

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
CLASS_NAMES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")


def read_domains(
    root: str | os.PathLike, sources: Sequence[str], target: str
) -> tuple[tuple[ImageSet, ...], ImageSet]:
    """Labelled sources and a target, with the 7 official classes. Raises: DataError as
    folder.read_published does.
    """
    return folder.read_published("pacs", "PACS", CLASS_NAMES, root, sources, target)
