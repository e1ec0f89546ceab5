"""Office-Home (Venkateswara et al., CVPR 2017) as downloaded from hemanthdv.org/OfficeHome-Dataset:
`<root>/<Art|Clipart|Product|Real World>/<class>/*.jpg`.

The copies of some libraries name the last domain's folder `Real_World`; it is read under either
name. The lists of the download (ImageInfo.csv, imagelist.txt) are not needed.
"""

import dataclasses
import os
from collections.abc import Sequence

from data_pipeline.classification import folder
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.files.names import data_root, is_folder

REAL_WORLD = "Real World"
DOMAINS = ("Art", "Clipart", "Product", REAL_WORLD)
CLASS_NAMES = tuple(
    """
    Alarm_Clock Backpack Batteries Bed Bike Bottle Bucket Calculator Calendar Candles Chair
    Clipboards Computer Couch Curtains Desk_Lamp Drill Eraser Exit_Sign Fan File_Cabinet Flipflops
    Flowers Folder Fork Glasses Hammer Helmet Kettle Keyboard Knives Lamp_Shade Laptop Marker
    Monitor Mop Mouse Mug Notebook Oven Pan Paper_Clip Pen Pencil Postit_Notes Printer Push_Pin
    Radio Refrigerator Ruler Scissors Screwdriver Shelf Sink Sneakers Soda Speaker Spoon TV Table
    Telephone ToothBrush Toys Trash_Can Webcam
    """.split()
)


def read_domains(
    root: str | os.PathLike, sources: Sequence[str], target: str
) -> tuple[tuple[ImageSet, ...], ImageSet]:
    """Labelled sources and a target, with the 65 official classes. Raises: DataError as
    folder.read_published does.
    """
    source_sets, target_set = folder.read_published(
        "officehome",
        "Office-Home",
        CLASS_NAMES,
        root,
        [_folder_of(root, source) for source in sources],
        _folder_of(root, target),
    )
    return tuple(map(_with_a_blank, source_sets)), _with_a_blank(target_set)


def _folder_of(root, domain) -> str:
    """The name that a domain's folder has on the disk."""
    other = REAL_WORLD.replace(" ", "_")
    if domain == REAL_WORLD and not is_folder(data_root(root) / domain):
        return other if is_folder(data_root(root) / other) else domain
    return domain


def _with_a_blank(images) -> ImageSet:
    """Named as the site has it, whatever the folder is called."""
    return dataclasses.replace(images, name=images.name.replace("_", " "))
