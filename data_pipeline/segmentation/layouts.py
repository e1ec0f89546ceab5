"""The layouts of segmentation data: which files a folder holds, image by label, and what else is
there. Which layout a data set has is said in `readers`.
"""

import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.decode import image_size_hw
from data_pipeline.errors import DataError
from data_pipeline.files.folder_scan import (
    LeftOut,
    as_left_out,
    gathered,
    nested,
    scan,
    what_is_there,
)
from data_pipeline.files.names import check_below, hint, is_folder, is_present, normal
from data_pipeline.segmentation.id_png import read_ids
from data_pipeline.segmentation.labels import LabelSpace

# Beside *_labelIds.png in the official gtFine archive; createTrainIdLabelImgs.py of
# cityscapesscripts adds the last.
_COMPANIONS = (
    "_gtFine_color.png",
    "_gtFine_instanceIds.png",
    "_gtFine_polygons.json",
    "_gtFine_labelTrainIds.png",
)


class Listing(NamedTuple):
    """The files of one domain, before they are known to be complete."""

    name: str
    root: str
    images: dict[str, str]  # frame -> file, in the order of the official lists
    labels: dict[str, str] | None  # frame -> file; None without a folder of labels
    label_of: Callable[[str], str]  # frame -> where its label should be
    space: LabelSpace
    read_ids: Callable[[str], np.ndarray] = read_ids
    size_tolerance: float = 0.0
    left_out: tuple[LeftOut, ...] = ()
    label_scale: float = 1.0  # size of a label over that of its image
    label_hw: Callable[[str], tuple[int, int]] = image_size_hw  # of a label's file, undecoded


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


def list_flat(
    name: str,
    root: pathlib.Path,
    image_folder: str,
    label_folder: str,
    space: LabelSpace,
    where: str,
    endings: Sequence[str] = (".png",),
) -> Listing:
    """The layout <root>/<image_folder>/<frame>.png, <root>/<label_folder>/<frame>.png.

    Args:
      name: of the set.
      where: what messages call the config.
      endings: of the images.
    Raises: DataError without an image, and for a folder of labels that holds other files.
    """
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
    if has_labels(root, label_folder):
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


def has_labels(root: pathlib.Path, folder: str) -> bool:
    """Whether the folder of labels is there; without it a set is unlabelled, which no slip in its
    name may bring about. Raises: DataError for a name that is nearly that of the folder.
    """
    parts = folder.split("/")
    return all(
        is_present(root.joinpath(*parts[:i]), part, as_folder=True) for i, part in enumerate(parts)
    )


def list_cityscapes(
    name: str, root: pathlib.Path, split: str, space: LabelSpace, where: str
) -> Listing:
    """The layout of Cityscapes, by split and city.

    Raises: DataError without an image, for TrainIds alone, and for a folder of labels without any.
    """
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
    if has_labels(root, f"gtFine/{split}"):
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
    for name in sorted(found.files, key=natural_order):
        frame = normal(os.path.splitext(name)[0])
        if frame in frames:
            raise DataError(
                f"{folder / name}: a second file named {frame!r}, beside {frames[frame]}; rename or"
                " remove one"
            )
        frames[frame] = str(folder / name)
    return frames, [*found.left_out, *nested(folder, found)]


def natural_order(name: str) -> tuple:
    """A key to sort names by, with the numbers in them in their numeric order."""
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
