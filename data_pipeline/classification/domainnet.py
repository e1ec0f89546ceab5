"""DomainNet (Peng et al., "Moment Matching for Multi-Source Domain Adaptation", ICCV 2019) as
downloaded from ai.bu.edu/M3SDA.

    <root>/<clipart|infograph|painting|quickdraw|real|sketch>/<class>/*.jpg     (quickdraw: *.png)
    <root>/<domain>_train.txt, <root>/<domain>_test.txt

A line of a list is "clipart/aircraft_carrier/clipart_001_000001.jpg 0". The lists may lie in the
domain's folder instead. They decide: the archives of the uncleaned version hold images that no list
names.
"""

import os
import pathlib
from collections.abc import Sequence

from data_pipeline.classification.folder import domain_folder
from data_pipeline.classification.image_set import ImageSet, Listed
from data_pipeline.classification.list_files import (
    ListFile,
    classes_of,
    listed_set,
    read_list,
)
from data_pipeline.errors import DataError
from data_pipeline.files.names import data_root, is_file, is_present

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
SPLITS = {"train": ("train",), "test": ("test",), "all": ("train", "test")}


def read_domains(
    root: str | os.PathLike,
    sources: Sequence[str],
    target: str,
    *,
    source_split: str,
    target_split: str,
    evaluation_split: str,
) -> tuple[tuple[ImageSet, ...], ImageSet, ImageSet]:
    """Labelled sources, the target to adapt to and the target images to measure on. The last two
    are one object where both are of one split.

    The classes are all that the lists read here name. A class may be absent from one of the sets.

    Args:
      source_split, target_split, evaluation_split: "train", "test" or "all".
    Raises: DataError for a missing folder or list, an unknown split, an entry of another domain,
      and class ids that differ between lists or from the folders, naming file and line.
    """
    root = data_root(root)
    wanted = [(source, source_split, "source_split") for source in sources]
    wanted += [
        (target, target_split, "target_split"),
        (target, evaluation_split, "evaluation_split"),
    ]
    lists: dict[tuple[str, str], ListFile] = {}
    for domain, split, key in wanted:
        if split not in SPLITS:
            raise DataError(
                f"config.data.{key}={split!r}: no split of that name; known: {', '.join(SPLITS)}"
            )
        for part in SPLITS[split]:
            if (domain, part) not in lists:
                lists[domain, part] = _read_list(root, domain, part)
    for domain in sources:
        for part in SPLITS[source_split]:
            if lists[domain, part].ids is None:
                raise DataError(
                    f"{lists[domain, part].path}: a source needs class ids; found none: use the"
                    " list as downloaded"
                )
    class_names = classes_of([listed for listed in lists.values() if listed.ids is not None])
    sets = {
        (domain, split): listed_set(
            f"domainnet/{domain}/{split}",
            class_names,
            [lists[domain, part] for part in SPLITS[split]],
            _origin(root, domain),
        )
        for domain, split, _ in wanted
    }
    return (
        tuple(sets[source, source_split] for source in sources),
        sets[target, target_split],
        sets[target, evaluation_split],
    )


def _list_files(root, domain) -> dict[str, pathlib.Path]:
    """{split: the list file that is there}."""
    places = {
        split: [pathlib.Path(root) / below / f"{domain}_{split}.txt" for below in ("", domain)]
        for split in ("train", "test")
    }
    there = {split: [path for path in paths if is_file(path)] for split, paths in places.items()}
    return {split: paths[0] for split, paths in there.items() if paths}


def _read_list(root, domain, part) -> ListFile:
    folder = domain_folder(root, domain)  # raises where there is none
    found = _list_files(root, domain)
    if part not in found:
        for place in (root, folder):
            is_present(place, f"{domain}_{part}.txt")  # raises where a slip in its name is why
        raise DataError(
            f"{root}: no {domain}_{part}.txt there or in its folder {domain}; download it from"
            " ai.bu.edu/M3SDA"
        )
    listed = read_list(found[part])
    for number, entry in enumerate(listed.entries, 1):
        if not entry.startswith(f"{domain}/") or entry.count("/") != 2:
            raise DataError(
                f"{listed.path}: line {number} names {entry!r}; expected '{domain}/<class>/<file>';"
                " use the list as downloaded"
            )
    return listed


def _origin(root, domain) -> Listed:
    return Listed(
        str(root),
        str(pathlib.Path(root) / domain),
        tuple(str(path) for path in _list_files(root, domain).values()),
    )
