"""Reading domains from class folders, as Office-31 and Office-Home are published.

Layout: `<root>/<domain>/[images/]<class>/*.jpg`, optionally `<root>/category.txt` with one class name a line, whose
line number is the class id. Without it the sorted names of the class folders are the classes.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.image_set import ImageSet

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")


def read_folder(
    root: str | os.PathLike, domain: str, class_names: tuple[str, ...] | None = None, listed_in: str = "the classes asked for",
) -> ImageSet:
    """Lists the images of one domain, in sorted order; decodes nothing.

    Args:
      root: the data set's folder.
      domain: a folder below it.
      class_names: the classes in the order of their ids; by default those of category.txt, else the sorted folder names.
      listed_in: what messages call these classes.
    Returns: an ImageSet of paths; labels are None when the domain folder holds images and no class folders.
    Raises: DataError for a missing or empty folder, and where class folders and `class_names` differ.
    """
    base = domain_folder(root, domain)
    folders, loose_images = _class_folders(base), images_in(base)
    if class_names is None:
        class_names, listed_in = _read_categories(root), str(pathlib.Path(root) / "category.txt")
    if not folders and not loose_images:
        raise DataError(f"{base}: no class folders and no images ({', '.join(IMAGE_ENDINGS)}); expected {base}/<class>/*.jpg")
    if not folders:
        return ImageSet(domain, tuple(class_names or ()), paths=tuple(loose_images))
    if loose_images:
        raise DataError(f"{loose_images[0]}: an image beside class folders; move it into the folder of its class")
    if class_names is None:
        class_names = tuple(folders)
    _check_classes(base, folders, class_names, listed_in)

    paths, labels = [], []
    for class_id, name in enumerate(class_names):
        images = images_in(base / name)
        if not images:
            raise DataError(
                f"{base / name}: class {name!r} has no image ({', '.join(IMAGE_ENDINGS)}); add some or remove the folder")
        paths += images
        labels += [class_id] * len(images)
    return ImageSet(domain, tuple(class_names), np.array(labels, np.int32), paths=tuple(paths))


def read_domains(
    root: str | os.PathLike, sources: Sequence[str], target: str, class_names: tuple[str, ...] | None = None,
    listed_in: str = "the classes asked for",
) -> tuple[tuple[ImageSet, ...], ImageSet]:
    """Reads labelled source domains and a target that share class ids. The target may be unlabelled. Arguments as read_folder's.

    Raises: DataError as read_folder does, for a source without class folders, and for a class that not every domain has.
    """
    folders = {domain: _class_folders(domain_folder(root, domain)) for domain in (*sources, target)}
    first = sources[0]
    for source in sources:
        if not folders[source]:
            raise DataError(f"{domain_folder(root, source)}: the source domain {source!r} needs class folders; found none")
    for domain in folders:
        for name in sorted(set(folders[first]) ^ set(folders[domain])) if folders[domain] else ():  # an unlabelled target has none
            present, absent = (first, domain) if name in folders[first] else (domain, first)
            raise DataError(
                f"{root}: class {name!r} is in domain {present!r} and not in {absent!r}; both need the same classes: "
                f"remove its folder or add the missing one")
    source_sets = [read_folder(root, first, class_names, listed_in)]
    class_names = source_sets[0].class_names
    source_sets += [read_folder(root, source, class_names, listed_in) for source in sources[1:]]
    return tuple(source_sets), read_folder(root, target, class_names, listed_in)


def domain_folder(root: str | os.PathLike, domain: str) -> pathlib.Path:
    """`<root>/<domain>/images` when there is such a folder (Office-31), else `<root>/<domain>`. Raises DataError when there is none."""
    root = pathlib.Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; set config.data.root to the folder that holds the domains")
    if not domain or not (root / domain).is_dir():
        found = ", ".join(_class_folders(root)) or "none"
        raise DataError(f"{root}: no domain {domain!r}; domains there: {found}")
    nested = root / domain / "images"
    return nested if nested.is_dir() else root / domain


def _class_folders(base: pathlib.Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(base) if entry.is_dir() and not entry.name.startswith("."))


def images_in(folder: str | os.PathLike) -> list[str]:
    """The image files right in a folder, sorted."""
    return sorted(
        entry.path for entry in os.scandir(folder)
        if entry.name.lower().endswith(IMAGE_ENDINGS) and not entry.name.startswith(".") and entry.is_file())


def _read_categories(root) -> tuple[str, ...] | None:
    path = pathlib.Path(root) / "category.txt"
    if not path.is_file():
        return None
    names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    while names and not names[-1]:  # an editor's last empty lines are no classes
        names.pop()
    for number, name in enumerate(names):
        if not name or name in names[:number]:
            raise DataError(f"{path}: line {number + 1} is {name!r}; expected one class name a line, each once")
    return tuple(names)


def _check_classes(base, folders, class_names, listed_in):
    for name in folders:
        if name not in class_names:
            raise DataError(f"{base / name}: class folder {name!r} is not in {listed_in}; add it there or remove the folder")
    for name in class_names:
        if name not in folders:
            raise DataError(f"{base}: no folder for class {name!r}, which is in {listed_in}; add it or remove the class")
