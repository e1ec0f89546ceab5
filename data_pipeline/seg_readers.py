"""Reading segmentation data from its folders as downloaded; nothing is converted.

    gta5        <root>/images/00001.png                                     <root>/labels/00001.png (palette)
    synthia     <root>/RGB/0000000.png                                      <root>/GT/LABELS/0000000.png (16 bit, channel 0)
    synscapes   <root>/img/rgb-2k/1.png (or img/rgb/1.png, by its split)    <root>/img/class/1.png
    cityscapes  <root>/leftImg8bit/<split>/<city>/<frame>_leftImg8bit.png   <root>/gtFine/<split>/<city>/<frame>_gtFine_labelIds.png
    own         <root>/images/<name>.png (or .jpg, .bmp)                    <root>/labels/<name>.png, and a CSV of the classes

"scenes_source" and "scenes_target" are the embedded scenes, in gta5's and cityscapes' layout. Without the folder of labels a set is
unlabelled.
"""

import os
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from data_pipeline import labels as tables
from data_pipeline.class_csv import read_classes
from data_pipeline.errors import DataError
from data_pipeline.folder import IMAGE_ENDINGS
from data_pipeline.id_png import read_ids, read_synthia_ids
from data_pipeline.segmentation_set import SegmentationSet

KNOWN = ("gta5", "synthia", "synscapes", "cityscapes", "own", "scenes_source", "scenes_target")

# Users report GTA5 frames "off by a few pixels" from their labels, and all released loaders resize both to one size without a look.
_GTA5_SIZE_TOLERANCE = 0.01

_SYNTHIA_SPACES = {"synthia": tables.SYNTHIA, "synthia_clan": tables.SYNTHIA_CLAN}
# Folder of the images below img -> size of a label, 1440x720, over that of its image, 2048x1024 or the same
# (synscapes.on.liu.se/features.html).
_SYNSCAPES_LABEL_SCALES = {"rgb-2k": 1440 / 2048, "rgb": 1.0}
_CITYSCAPES_SPACES = {"cityscapes": tables.CITYSCAPES, "cityscapes_16": tables.CITYSCAPES_16}


class Listing(NamedTuple):
    """The files of one domain, before they are known to be complete."""

    name: str
    root: str
    images: dict[str, str]  # frame -> file, in the order of the official lists
    labels: dict[str, str] | None  # frame -> file; None without a folder of labels
    label_of: Callable[[str], str]  # frame -> where its label should be
    space: tables.LabelSpace
    read_ids: Callable[[str], np.ndarray] = read_ids
    size_tolerance: float = 0.0
    label_scale: float = 1.0  # size of a label over that of its image


def read_domain(config: Mapping[str, Any], where: str = "config.data") -> SegmentationSet:
    """Lists the images and labels of one domain, in the order of the official lists; decodes nothing.

    Args:
      config: `dataset` (one of KNOWN) and `root`; besides, `split` for cityscapes, scenes_target and
        synscapes ("rgb-2k" or "rgb"); `space` for cityscapes ("cityscapes" or "cityscapes_16") and synthia ("synthia", 16 classes, or "synthia_clan", 19); `classes`, a CSV file below root, for own.
      where: what messages call the config.
    Raises: DataError for a wrong config, a missing or empty folder, TrainIds files alone where label ids are expected, and an image
      without label or the reverse.
    """
    listing = list_files(config, where)
    problems = unpaired(listing)
    if problems:
        others = f" ({len(problems) - 1:,} more such files; --mode=check_data lists them)" if len(problems) > 1 else ""
        raise DataError(problems[0] + others)
    label_paths = None if listing.labels is None else tuple(listing.labels[frame] for frame in listing.images)
    return SegmentationSet(
        listing.name, tuple(listing.images.values()), label_paths, listing.space, listing.read_ids, listing.size_tolerance,
        listing.label_scale)


def list_files(config: Mapping[str, Any], where: str = "config.data") -> Listing:
    """The files of one domain, paired or not. Arguments and errors as read_domain, but for unpaired files."""
    dataset = _value(config, "dataset", where)
    if dataset not in KNOWN:
        raise DataError(f"unknown segmentation data set {dataset!r}; known: {', '.join(KNOWN)}; set {where}.dataset")
    root = pathlib.Path(str(_value(config, "root", where))).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; set {where}.root to the folder of the data set {dataset!r}")
    if dataset in ("cityscapes", "scenes_target"):
        space = _choice(config, "space", _CITYSCAPES_SPACES, where) if dataset == "cityscapes" else tables.CITYSCAPES
        listing = _list_cityscapes(dataset, root, str(_value(config, "split", where)), space, where)
    elif dataset == "synthia":
        space = _choice(config, "space", _SYNTHIA_SPACES, where)
        listing = _list_flat(dataset, root, "RGB", "GT/LABELS", space, where)._replace(read_ids=read_synthia_ids)
    elif dataset == "synscapes":
        label_scale = _choice(config, "split", _SYNSCAPES_LABEL_SCALES, where)
        listing = _list_flat(dataset, root, f"img/{config['split']}", "img/class", tables.SYNSCAPES, where)
        listing = listing._replace(label_scale=label_scale)
    elif dataset == "own":
        space = read_classes(root / str(_value(config, "classes", where)))
        listing = _list_flat(dataset, root, "images", "labels", space, where, IMAGE_ENDINGS)
    else:
        listing = _list_flat(dataset, root, "images", "labels", tables.GTA5, where)._replace(size_tolerance=_GTA5_SIZE_TOLERANCE)
    return listing


def unpaired(listing: Listing) -> list[str]:
    """One line for each image without label and each label without image."""
    if listing.labels is None:
        return []
    problems = [
        f"{path}: an image without label; expected {listing.label_of(frame)}: add the label or remove the image"
        for frame, path in listing.images.items() if frame not in listing.labels]
    return problems + [
        f"{path}: a label without image; add the image of frame {frame!r} or remove the label"
        for frame, path in listing.labels.items() if frame not in listing.images]


def _list_flat(name, root, image_folder, label_folder, space, where, endings=(".png",)) -> Listing:
    images = _frames(root / image_folder, endings) if (root / image_folder).is_dir() else {}
    if not images:
        raise DataError(f"{root}: no *.png under {image_folder}; there: {_entries(root)}; set {where}.root to the folder that holds "
                        f"{image_folder.split('/')[0]}")
    labels = _frames(root / label_folder, (".png",)) if (root / label_folder).is_dir() else None
    return Listing(name, str(root), images, labels, lambda frame: str(root / label_folder / f"{frame}.png"), space)


def _list_cityscapes(name, root, split, space, where) -> Listing:
    image_base, label_base = root / "leftImg8bit" / split, root / "gtFine" / split
    images = _frames_by_city(image_base, "_leftImg8bit.png")
    if not images:
        raise DataError(f"{root}: no *_leftImg8bit.png under leftImg8bit/{split}/<city>; there: {_entries(root / 'leftImg8bit')}; set "
                        f"{where}.root to the folder that holds leftImg8bit, and {where}.split to train or val")
    labels = _frames_by_city(label_base, "_gtFine_labelIds.png") if label_base.is_dir() else None
    if labels == {}:
        train_ids = _frames_by_city(label_base, "_gtFine_labelTrainIds.png")
        if train_ids:
            raise DataError(f"{next(iter(train_ids.values()))}: TrainIds, and no *_gtFine_labelIds.png under {label_base}; expected the "
                            f"labelIds of the official gtFine archive: unpack it there")
        raise DataError(f"{label_base}: no <city>/*_gtFine_labelIds.png; unpack the official gtFine archive there, or remove the folder "
                        f"for an unlabelled set")
    return Listing(f"{name}/{split}", str(root), images, labels, lambda frame: str(label_base / f"{frame}_gtFine_labelIds.png"), space)


def _frames_by_city(base, ending) -> dict[str, str]:
    """"city/frame" -> file, sorted by city, then name: the order of the published lists."""
    if not base.is_dir():
        return {}
    cities = sorted(entry.name for entry in os.scandir(base) if entry.is_dir() and not entry.name.startswith("."))
    return {
        f"{city}/{name[:-len(ending)]}": str(base / city / name)
        for city in cities for name in sorted(os.listdir(base / city)) if name.endswith(ending) and not name.startswith(".")}


def _frames(folder, endings) -> dict[str, str]:
    """Name without ending -> file, numbers in names in their numeric order (Synscapes: 2.png before 10.png)."""
    frames = {}
    for name in sorted(os.listdir(folder), key=_natural_order):
        stem, ending = os.path.splitext(name)
        if name.startswith(".") or ending.lower() not in endings:
            continue
        if stem in frames:
            raise DataError(f"{folder / name}: a second file named {stem!r}, beside {frames[stem]}; rename or remove one")
        frames[stem] = str(folder / name)
    return frames


def _natural_order(name):
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)], name


def _entries(folder) -> str:
    names = sorted(os.listdir(folder))[:6] if folder.is_dir() else []
    return ", ".join(names) or "nothing"


def _value(config, key, where):
    if key not in config:
        raise DataError(f"{where}.{key} is missing; a segmentation data set needs it")
    return config[key]


def _choice(config, key, choices, where):
    value = _value(config, key, where)
    if value not in choices:
        raise DataError(f"{where}.{key} is {value!r}; expected {' or '.join(choices)}")
    return choices[value]
