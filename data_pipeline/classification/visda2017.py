"""VisDA-2017 (Peng et al., 2017), classification, as downloaded.

    <root>/train/<class>/*.png        image_list.txt beside them: "aeroplane/src_1_....png 0"
    <root>/validation/<class>/*.jpg   image_list.txt: "aeroplane/validation_1.jpg 0"
    <root>/test/trunk00/*.jpg ...     image_list.txt: "trunk01/18ea....jpg 11"

The ids of test were published after the challenge. A list decides where there is one. Without a
list, train and validation are read by their class folders, and test is unlabelled. Test is also
unlabelled where its list has no class ids.
"""

import dataclasses
import os
from collections.abc import Sequence

from data_pipeline.classification.folder import domain_folder, images_in, read_folder
from data_pipeline.classification.image_set import ImageSet, Listed
from data_pipeline.classification.list_files import check_classes, listed_set, read_list
from data_pipeline.errors import DataError
from data_pipeline.files.folder_scan import as_left_out, gathered, scan
from data_pipeline.files.names import data_root, is_present
from data_pipeline.preprocess import IMAGE_ENDINGS

DOMAINS = ("train", "validation", "test")
LIST_FILE = "image_list.txt"

# Names of the folders; their order is that of the ids in classification/README.md of
# VisionLearningGroup/taskcv-2017-public.
CLASS_NAMES = tuple(
    "aeroplane bicycle bus car horse knife motorcycle person plant skateboard train truck".split()
)


def read_domains(
    root: str | os.PathLike, sources: Sequence[str], target: str
) -> tuple[tuple[ImageSet, ...], ImageSet]:
    """Labelled sources and a target, which may be unlabelled.

    Raises: DataError for a missing folder, a source without labels, and a list whose class ids are
    not the official ones.
    """
    source_sets = tuple(_read_domain(root, source) for source in sources)
    for source, images in zip(sources, source_sets, strict=True):
        if images.labels is None:
            raise DataError(
                f"{data_root(root) / source / LIST_FILE}: a source needs class ids; found none: use"
                " 'train' or 'validation'"
            )
    return source_sets, _read_domain(root, target)


def _read_domain(root, domain) -> ImageSet:
    name, base = f"visda2017/{domain}", domain_folder(root, domain)
    list_file = base / LIST_FILE
    if is_present(base, LIST_FILE):
        listed = read_list(list_file)
        if listed.ids is not None:
            check_classes(listed, CLASS_NAMES, folders_are_classes=domain != "test")
        return listed_set(name, CLASS_NAMES, [listed], Listed(str(base), str(base), (listed.path,)))
    if domain != "test":
        return dataclasses.replace(
            read_folder(root, domain, CLASS_NAMES, "the 12 classes of VisDA-2017"), name=name
        )
    found = scan(base, IMAGE_ENDINGS)
    why = f"right in {base}, read are those in its folders"
    left_out = found.left_out + as_left_out(base, found.files, why)
    images = []
    for trunk in found.folders:
        more, unused = images_in(base / trunk)
        images += more
        left_out += unused
    if not images:
        raise DataError(
            f"{base}: no {LIST_FILE} and no images; expected {base}/trunk00/*.jpg: unpack test.tar"
            " again"
        )
    return ImageSet(name, CLASS_NAMES, paths=tuple(images), left_out=gathered(left_out))
