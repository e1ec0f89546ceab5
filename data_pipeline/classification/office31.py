"""Office-31 (Saenko et al., ECCV 2010) as downloaded:
`<root>/<amazon|dslr|webcam>/images/<class>/*.jpg`.
"""

import os
from collections.abc import Sequence

from data_pipeline.classification import folder
from data_pipeline.classification.image_set import ImageSet

DOMAINS = ("amazon", "dslr", "webcam")
CLASS_NAMES = tuple(
    """
    back_pack bike bike_helmet bookcase bottle calculator desk_chair desk_lamp desktop_computer
    file_cabinet headphones keyboard laptop_computer letter_tray mobile_phone monitor mouse mug
    paper_notebook pen phone printer projector punchers ring_binder ruler scissors speaker stapler
    tape_dispenser trash_can
    """.split()
)


def read_domains(
    root: str | os.PathLike, sources: Sequence[str], target: str
) -> tuple[tuple[ImageSet, ...], ImageSet]:
    """Labelled sources and a target, with the 31 official classes. Raises: DataError as
    folder.read_published does.
    """
    return folder.read_published("office31", "Office-31", CLASS_NAMES, root, sources, target)
