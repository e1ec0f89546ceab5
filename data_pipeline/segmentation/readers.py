"""Reads segmentation data from its folders as downloaded; nothing is converted.

    gta5        images/00001.png
                labels/00001.png, with a palette
    synthia     RGB/0000000.png
                GT/LABELS/0000000.png, 16 bit, ids in channel 0
    synscapes   img/rgb-2k/1.png, or img/rgb/1.png, by its split
                img/class/1.png
    cityscapes  leftImg8bit/<split>/<city>/<frame>_leftImg8bit.png
                gtFine/<split>/<city>/<frame>_gtFine_labelIds.png
    own         images/<name>.png, or .jpg, .bmp
                labels/<name>.png, and a CSV of the classes

The labels of own data hold ids, or the colours of the CSV, see `color_labels`. An image and its
label are a pair where their names are the same word, in whichever Unicode form. Everything in these
folders that is not read is counted and named, see `folder_scan`.

"scenes_source" and "scenes_target" are the embedded scenes, in gta5's and cityscapes' layout.
Without the folder of labels a set is unlabelled.
"""

import functools
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

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
    data_root,
    hint,
    is_folder,
    is_present,
    normal,
)
from data_pipeline.preprocess import IMAGE_ENDINGS
from data_pipeline.segmentation import labels as tables
from data_pipeline.segmentation.class_csv import read_classes
from data_pipeline.segmentation.color_labels import read_ids_or_colors
from data_pipeline.segmentation.id_png import read_ids, read_synthia_ids
from data_pipeline.segmentation.segmentation_set import SegmentationSet

KNOWN = ("gta5", "synthia", "synscapes", "cityscapes", "own", "scenes_source", "scenes_target")

# Users report GTA5 frames "off by a few pixels" from their labels, and all released loaders resize
# both to one size without a look.
_GTA5_SIZE_TOLERANCE = 0.01

# Beside *_labelIds.png in the official gtFine archive; createTrainIdLabelImgs.py of
# cityscapesscripts adds the last.
_COMPANIONS = (
    "_gtFine_color.png",
    "_gtFine_instanceIds.png",
    "_gtFine_polygons.json",
    "_gtFine_labelTrainIds.png",
)

_SYNTHIA_SPACES = {"synthia": tables.SYNTHIA, "synthia_clan": tables.SYNTHIA_CLAN}
# Folder of the images below img -> size of a label, 1440x720, over that of its image, 2048x1024 or
# the same (synscapes.on.liu.se/features.html).
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
    left_out: tuple[LeftOut, ...] = ()
    label_scale: float = 1.0  # size of a label over that of its image


def read_domain(config: Mapping[str, Any], where: str = "config.data") -> SegmentationSet:
    """Lists the images and labels of one domain, in the order of the official lists; decodes
    nothing.

    Args:
      config: `dataset` (one of KNOWN) and `root`; besides, `split` for cityscapes, scenes_target
        and synscapes ("rgb-2k" or "rgb"); `space` for cityscapes ("cityscapes" or "cityscapes_16")
        and synthia ("synthia", 16 classes, or "synthia_clan", 19); `classes`, a CSV file, relative
        to root or absolute, for own.
      where: what messages call the config.
    Raises: DataError for a wrong config, a missing or empty folder, TrainIds files alone where
      label ids are expected, and an image without label or the reverse.
    """
    listing = list_files(config, where)
    problems = unpaired(listing)
    if problems:
        others = (
            f" ({len(problems) - 1:,} more such files; --mode=check_data lists them)"
            if len(problems) > 1
            else ""
        )
        raise DataError(problems[0] + others)
    label_paths = (
        None if listing.labels is None else tuple(listing.labels[frame] for frame in listing.images)
    )
    return SegmentationSet(
        listing.name,
        tuple(listing.images.values()),
        label_paths,
        listing.space,
        listing.read_ids,
        listing.size_tolerance,
        listing.left_out,
        listing.label_scale,
    )


def list_files(config: Mapping[str, Any], where: str = "config.data") -> Listing:
    """The files of one domain, paired or not. Arguments and errors as read_domain, except that
    files without a partner are no error.
    """
    dataset = _value(config, "dataset", where)
    if dataset not in KNOWN:
        raise DataError(
            f"unknown segmentation data set {dataset!r}; known: {', '.join(KNOWN)}; set"
            f" {where}.dataset"
        )
    root = data_root(str(_value(config, "root", where)), f"{where}.root")
    if dataset in ("cityscapes", "scenes_target"):
        space = (
            _choice(config, "space", _CITYSCAPES_SPACES, where)
            if dataset == "cityscapes"
            else tables.CITYSCAPES
        )
        listing = _list_cityscapes(dataset, root, str(_value(config, "split", where)), space, where)
    elif dataset == "synthia":
        space = _choice(config, "space", _SYNTHIA_SPACES, where)
        listing = _list_flat(dataset, root, "RGB", "GT/LABELS", space, where)._replace(
            read_ids=read_synthia_ids
        )
    elif dataset == "synscapes":
        label_scale = _choice(config, "split", _SYNSCAPES_LABEL_SCALES, where)
        listing = _list_flat(
            dataset, root, f"img/{config['split']}", "img/class", tables.SYNSCAPES, where
        )
        listing = listing._replace(label_scale=label_scale)
    elif dataset == "own":
        space = read_classes(_classes_file(config, root, where))
        listing = _list_flat(dataset, root, "images", "labels", space, where, IMAGE_ENDINGS)
        listing = listing._replace(read_ids=functools.partial(read_ids_or_colors, space=space))
    else:
        listing = _list_flat(dataset, root, "images", "labels", tables.GTA5, where)._replace(
            size_tolerance=_GTA5_SIZE_TOLERANCE
        )
    return listing


def unpaired(listing: Listing) -> list[str]:
    """One line for each image without label and each label without image."""
    if listing.labels is None:
        return []
    problems = [
        f"{path}: an image without label; expected"
        f" {listing.label_of(frame)}{hint(frame, listing.labels)}: add the label or remove the"
        " image"
        for frame, path in listing.images.items()
        if frame not in listing.labels
    ]
    return problems + [
        f"{path}: a label without image{hint(frame, listing.images)}; add the image of frame"
        f" {frame!r} or remove the label"
        for frame, path in listing.labels.items()
        if frame not in listing.images
    ]


def _classes_file(config, root, where):
    name = os.path.expanduser(str(_value(config, "classes", where)))
    if name and not is_folder(root / name):
        return root / name
    there = scan(root, (".csv",)).files or ["none"]
    raise DataError(
        f"{where}.classes is {name!r}; expected the CSV file of the classes"
        f" (id,name,train_id,r,g,b), below {root} or absolute; CSV files there: {', '.join(there)}"
    )


def _list_flat(name, root, image_folder, label_folder, space, where, endings=(".png",)) -> Listing:
    images, beside_images = {}, []
    if is_folder(root / image_folder):
        images, beside_images = _frames(root / image_folder, endings)
    if not images:
        raise DataError(
            f"{root}: no *{', *'.join(endings)} under {image_folder}; there:"
            f" {_entries(root, image_folder)}; set {where}.root to the folder that holds"
            f" {image_folder.split('/')[0]}, with images of these endings"
        )
    labels, beside_labels = None, []
    if _has_labels(root, label_folder):
        labels, beside_labels = _frames(root / label_folder, (".png",))
    if labels == {} and beside_labels:
        raise DataError(
            f"{root / label_folder}: no *.png; there: {what_is_there(root / label_folder)}; labels"
            " are PNG files: put them there, or remove the folder for an unlabelled set"
        )
    return Listing(
        name,
        str(root),
        images,
        labels,
        lambda frame: str(root / label_folder / f"{frame}.png"),
        space,
        left_out=gathered(beside_images + beside_labels),
    )


def _has_labels(root, folder) -> bool:
    """Whether the folder of labels is there; without it a set is unlabelled, which no slip in its
    name may bring about.
    """
    parts = folder.split("/")
    return all(
        is_present(root.joinpath(*parts[:i]), part, as_folder=True) for i, part in enumerate(parts)
    )


def _list_cityscapes(name, root, split, space, where) -> Listing:
    check_below(split, f"{where}.split")
    split = split.strip("/")
    image_base, label_base = root / "leftImg8bit" / split, root / "gtFine" / split
    images, beside_images = _frames_by_city(image_base, "_leftImg8bit.png")
    if not images:
        raise DataError(
            f"{root}: no *_leftImg8bit.png under leftImg8bit/{split}/<city>; there:"
            f" {_entries(root / 'leftImg8bit', split)}; set {where}.root to the folder that holds"
            f" leftImg8bit, and {where}.split to train or val"
        )
    labels, beside_labels = None, []
    if _has_labels(root, f"gtFine/{split}"):
        labels, beside_labels = _frames_by_city(label_base, "_gtFine_labelIds.png", _COMPANIONS)
    if labels == {}:
        train_ids, _ = _frames_by_city(label_base, "_gtFine_labelTrainIds.png")
        if train_ids:
            raise DataError(
                f"{next(iter(train_ids.values()))}: TrainIds, and no *_gtFine_labelIds.png under"
                f" {label_base}; expected the labelIds of the official gtFine archive: unpack it"
                " there"
            )
        raise DataError(
            f"{label_base}: no <city>/*_gtFine_labelIds.png; unpack the official gtFine archive"
            " there, or remove the folder for an unlabelled set"
        )
    return Listing(
        f"{name}/{split}",
        str(root),
        images,
        labels,
        lambda frame: str(label_base / f"{frame}_gtFine_labelIds.png"),
        space,
        left_out=gathered(beside_images + beside_labels),
    )


def _frames_by_city(base, ending, companions=()) -> tuple[dict[str, str], list[LeftOut]]:
    """The frames, "city/frame" -> file, sorted by city, then name, as in the published lists; and
    what else is there, without the companions: files that lie beside these in the official archive.
    """
    if not is_folder(base):
        return {}, []
    there = scan(base, ("",))
    beside = as_left_out(base, there.files, "beside the folders of the cities")
    frames, left_out = {}, there.left_out + beside
    for city in there.folders:
        found = scan(base / city, ("",))  # endings of Cityscapes are compared as they are written
        left_out += [*found.left_out, *nested(base / city, found)]
        left_out += as_left_out(
            base / city,
            (name for name in found.files if not name.endswith((ending, *companions))),
            f"that do not end in {ending}",
        )
        frames |= {
            normal(f"{city}/{name[: -len(ending)]}"): str(base / city / name)
            for name in found.files
            if name.endswith(ending)
        }
    return frames, left_out


def _frames(folder, endings) -> tuple[dict[str, str], list[LeftOut]]:
    """Name without ending -> file, numbers in names in their numeric order (Synscapes: 2.png before
    10.png); and what else is there.
    """
    frames, found = {}, scan(folder, endings)
    for name in sorted(found.files, key=_natural_order):
        frame = normal(os.path.splitext(name)[0])
        if frame in frames:
            raise DataError(
                f"{folder / name}: a second file named {frame!r}, beside {frames[frame]}; rename or"
                " remove one"
            )
        frames[frame] = str(folder / name)
    return frames, [*found.left_out, *nested(folder, found)]


def _natural_order(name):
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", normal(name))
    ], name


def _entries(root, below) -> str:
    """What is in `root/below` where there is something, else in root."""
    inner = root / below
    return (
        f"{what_is_there(inner)} (in {inner})"
        if inner.is_dir() and any(inner.iterdir())
        else what_is_there(root)
    )


def _value(config, key, where):
    if key not in config:
        raise DataError(f"{where}.{key} is missing; a segmentation data set needs it")
    return config[key]


def _choice(config, key, choices, where):
    value = _value(config, key, where)
    if value not in choices:
        raise DataError(f"{where}.{key} is {value!r}; expected {' or '.join(choices)}")
    return choices[value]
