"""Reading domains from class folders, as Office-31 and Office-Home are published.

Layout: `<root>/<domain>/[images/]<class>/*.jpg`, optionally `<root>/category.txt` with one class
name a line, whose line number is the class id. Without it the sorted names of the class folders are
the classes.

Names of domains and classes are compared composed (Unicode's NFC), see `names`. Everything in a
domain that is not read is counted and named, see `folder_scan`.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipeline.classification.image_set import ImageSet
from data_pipeline.errors import DataError
from data_pipeline.files.folder_scan import (
    LeftOut,
    as_left_out,
    gathered,
    nested,
    scan,
    what_is_there,
)
from data_pipeline.files.names import (
    check_below,
    class_name,
    data_root,
    find_below,
    hint,
    is_folder,
    is_present,
    what_stands_at,
)
from data_pipeline.files.text_files import lines_of, read_text
from data_pipeline.preprocess import IMAGE_ENDINGS


def read_folder(
    root: str | os.PathLike,
    domain: str,
    class_names: tuple[str, ...] | None = None,
    listed_in: str = "the classes asked for",
) -> ImageSet:
    """Lists the images of one domain, in sorted order; decodes nothing.

    Args:
      root: the data set's folder.
      domain: a folder below it.
      class_names: the classes in the order of their ids; by default those of category.txt, else the
        sorted folder names.
      listed_in: what messages call these classes.
    Returns: an ImageSet of paths; labels are None when the domain folder holds images and no class
      folders.
    Raises: DataError for a missing or empty folder, and where class folders and `class_names`
      differ.
    """
    outer, base = _domain_folders(root, domain)
    found, folders = scan(base, IMAGE_ENDINGS), class_folders(base)
    left_out = _beside_images(outer, base) + found.left_out
    if class_names is None:
        class_names, listed_in = _read_categories(root), str(data_root(root) / "category.txt")
    if not folders and not found.files:
        raise DataError(
            f"{base}: no class folders and no images ({', '.join(IMAGE_ENDINGS)}); there:"
            f" {what_is_there(base)}; expected {base}/<class>/*.jpg"
        )
    if not folders:
        paths = tuple(os.path.join(base, name) for name in found.files)
        return ImageSet(domain, tuple(class_names or ()), paths=paths, left_out=gathered(left_out))
    if found.files:
        raise DataError(
            f"{base / found.files[0]}: an image beside class folders; move it into the folder of"
            " its class"
        )
    if class_names is None:
        class_names = tuple(folders)
    _check_classes(base, folders, class_names, listed_in)

    paths, labels = [], []
    for class_id, name in enumerate(class_names):
        images, unused = images_in(base / folders[name])
        if not images:
            raise DataError(
                f"{base / folders[name]}: class {name!r} has no image ({', '.join(IMAGE_ENDINGS)});"
                f" there: {what_is_there(base / folders[name])}; add some or remove the folder"
            )
        paths += images
        labels += [class_id] * len(images)
        left_out += unused
    return ImageSet(
        domain,
        tuple(class_names),
        np.array(labels, np.int32),
        paths=tuple(paths),
        left_out=gathered(left_out),
    )


def read_domains(
    root: str | os.PathLike,
    sources: Sequence[str],
    target: str,
    class_names: tuple[str, ...] | None = None,
    listed_in: str = "the classes asked for",
) -> tuple[tuple[ImageSet, ...], ImageSet]:
    """Reads labelled source domains and a target that share class ids. The target may be
    unlabelled. Arguments as read_folder's.

    Raises: DataError as read_folder does, for a source without class folders, and for a class that
    not every domain has.
    """
    folders = {domain: class_folders(domain_folder(root, domain)) for domain in (*sources, target)}
    first = sources[0]
    for source in sources:
        if not folders[source]:
            raise DataError(
                f"{domain_folder(root, source)}: the source domain {source!r} needs class folders;"
                " found none"
            )
    for domain in folders:
        # an unlabelled target has none
        for name in sorted(set(folders[first]) ^ set(folders[domain])) if folders[domain] else ():
            present, absent = (first, domain) if name in folders[first] else (domain, first)
            entry = domain_folder(root, absent) / folders[present][name]
            found = (
                f" ({entry} is{what_stands_at(entry)})"
                if what_stands_at(entry)
                else hint(name, folders[absent])
            )
            raise DataError(
                f"{data_root(root)}: class {name!r} is in domain {present!r} and not in"
                f" {absent!r}{found}; both need the same classes: remove its folder, add the"
                " missing one, or rename one of them"
            )
    source_sets = [read_folder(root, first, class_names, listed_in)]
    class_names = source_sets[0].class_names
    source_sets += [read_folder(root, source, class_names, listed_in) for source in sources[1:]]
    return tuple(source_sets), read_folder(root, target, class_names, listed_in)


def read_published(
    dataset: str,
    title: str,
    class_names: tuple[str, ...],
    root: str | os.PathLike,
    sources: Sequence[str],
    target: str,
) -> tuple[tuple[ImageSet, ...], ImageSet]:
    """Labelled sources and a target of a published set, with its official classes; each set is
    called "<dataset>/<domain>".

    Args:
      dataset: what configs call the set; title: what its authors call it, for messages.
      class_names: the official classes, in the order of their ids.
      root, sources, target: as read_domains's.

    Raises: DataError as read_domains does.
    """
    listed_in = f"the {len(class_names)} classes of {title}"
    source_sets, target_set = read_domains(root, sources, target, class_names, listed_in)

    def named(images):
        return dataclasses.replace(images, name=f"{dataset}/{images.name}")

    return tuple(map(named, source_sets)), named(target_set)


def domain_folder(root: str | os.PathLike, domain: str) -> pathlib.Path:
    """`<root>/<domain>/images` when there is such a folder (Office-31), else `<root>/<domain>`.

    Raises: DataError when there is none, and for a name that leads out of the root.
    """
    return _domain_folders(root, domain)[1]


def _domain_folders(root, domain) -> tuple[pathlib.Path, pathlib.Path]:
    """`<root>/<domain>`, and the folder in it that is read."""
    root = data_root(root)
    check_below(domain, "config.data: a domain")
    outer = pathlib.Path(find_below(root, domain) or root / domain)
    if not domain.strip("./") or not is_folder(outer):
        there = class_folders(root)
        found = (
            f" ({outer} is{what_stands_at(outer)})"
            if domain and what_stands_at(outer)
            else hint(domain, there)
        )
        raise DataError(
            f"{root}: no domain {domain!r}{found}; domains there: {', '.join(there) or 'none'}; "
            "correct config.data.source or config.data.target"
        )
    inner = outer / "images"
    return outer, inner if is_folder(inner) else outer


def class_folders(base: str | os.PathLike) -> dict[str, str]:
    """{class: name of its folder} of the folders right in a folder, sorted by class; hidden ones
    are none.

    Raises: DataError for two folders whose names are one class: they differ in their Unicode form
    only.
    """
    found: dict[str, str] = {}
    for folder in scan(base, ()).folders:
        name = class_name(folder)
        if name in found:
            raise DataError(
                f"{base}: two folders of class {name!r}, whose names differ in their Unicode form"
                " only (NFC and NFD); merge them into one"
            )
        found[name] = folder
    return dict(sorted(found.items()))


def images_in(folder: str | os.PathLike) -> tuple[list[str], list[LeftOut]]:
    """The image files right in a folder, sorted, and what else is there."""
    found = scan(folder, IMAGE_ENDINGS)
    return [os.path.join(folder, name) for name in found.files], [
        *found.left_out,
        *nested(folder, found),
    ]


def _beside_images(outer, base) -> list[LeftOut]:
    """What lies in `<domain>` where `<domain>/images` is read (Office-31)."""
    if outer == base:
        return []
    found = scan(outer, IMAGE_ENDINGS)
    beside = [*found.files, *(name for name in found.folders if name != base.name)]
    return found.left_out + as_left_out(outer, beside, "beside the folder 'images', which is read")


def _read_categories(root) -> tuple[str, ...] | None:
    path = data_root(root) / "category.txt"
    if not is_present(path.parent, path.name):
        return None
    lines = lines_of(read_text(path, "one class name a line", holds_file_names=True))
    names = [class_name(line.strip()) for line in lines]
    for number, name in enumerate(names):
        if not name or name in names[:number]:
            raise DataError(
                f"{path}: line {number + 1} is {name!r}; expected one class name a line, each once"
            )
    return tuple(names)


def _check_classes(base, folders: Mapping[str, str], class_names, listed_in):
    for name in folders:
        if name not in class_names:
            raise DataError(
                f"{base / folders[name]}: class folder {name!r} is not in"
                f" {listed_in}{hint(name, class_names)}; add it there, rename or remove it"
            )
    for name in class_names:
        if name not in folders:
            raise DataError(
                f"{base}: no folder for class {name!r}, which is in"
                f" {listed_in}{hint(name, folders)}; add it or remove the class"
            )
