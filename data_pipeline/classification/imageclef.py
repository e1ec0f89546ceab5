"""ImageCLEF-DA (the challenge of 2014, imageclef.org/2014/adaptation) as it is passed on since:

    <root>/<b|c|i|p>/*            Bing, Caltech-256, ImageNet ILSVRC 2012, Pascal VOC 2012
    <root>/list/<domain>List.txt  "i/n02691156_7563.JPEG 0" a line; or right below the root

The lists decide. Those of Caltech name a folder that the archive does not have ("c/FOLDER/x.jpg"
for c/x.jpg): where no file is under the whole name, the one of the same name in the domain's folder
is read.
"""

import os
from collections.abc import Sequence

import numpy as np

from data_pipeline.classification.folder import domain_folder
from data_pipeline.classification.image_set import ImageSet
from data_pipeline.classification.list_files import check_classes, read_list
from data_pipeline.errors import DataError
from data_pipeline.files.folder_scan import as_left_out, gathered, scan
from data_pipeline.files.names import data_root, is_file, is_folder, is_present
from data_pipeline.preprocess import IMAGE_ENDINGS

DOMAINS = ("b", "c", "i", "p")
# In the order of the ids of the lists.
CLASS_NAMES = tuple(
    "aeroplane bike bird boat bottle bus car dog horse monitor motorbike people".split()
)


def read_domains(
    root: str | os.PathLike, sources: Sequence[str], target: str
) -> tuple[tuple[ImageSet, ...], ImageSet]:
    """Labelled sources and a target, with the 12 official classes.

    Raises: DataError for a missing folder or list, and for a list without class ids or with others
      than 0 to 11, naming file and line.
    """
    return tuple(_read_domain(root, source) for source in sources), _read_domain(root, target)


def _read_domain(root, domain) -> ImageSet:
    root, folder = data_root(root), domain_folder(root, domain)
    listed = read_list(_list_file(root, domain))
    if listed.ids is None:
        raise DataError(
            f"{listed.path}: has no class ids; expected '<path of an image> <class id>' a line: use"
            " the list as passed on with the images"
        )
    check_classes(listed, CLASS_NAMES, folders_are_classes=False)
    paths = []
    for number, entry in enumerate(listed.entries, 1):
        if not entry.startswith(f"{domain}/"):
            raise DataError(
                f"{listed.path}: line {number} names {entry!r}; expected '{domain}/<file>': use the"
                " list as passed on with the images"
            )
        path = f"{root}/{entry}"
        flat = f"{folder}/{entry.rpartition('/')[2]}"
        paths.append(flat if not is_file(path) and is_file(flat) else path)
    found = scan(folder, IMAGE_ENDINGS)
    used = set(paths)
    unlisted = [name for name in found.files if f"{folder}/{name}" not in used]
    left_out = [*found.left_out, *as_left_out(folder, unlisted, "that the list does not name")]
    labels = np.array(listed.ids, np.int32)
    return ImageSet(
        f"imageclef/{domain}", CLASS_NAMES, labels, paths=tuple(paths), left_out=gathered(left_out)
    )


def _list_file(root, domain):
    name = f"{domain}List.txt"
    for folder in (root / "list", root):
        if is_file(folder / name):
            return folder / name
    for folder in (root / "list", root):
        if is_folder(folder):
            is_present(folder, name)  # raises where a slip in its name is why
    raise DataError(
        f"{root}: no list/{name} and no {name}; expected the list as passed on with the images,"
        f" '{domain}/<file> <class id>' a line"
    )
