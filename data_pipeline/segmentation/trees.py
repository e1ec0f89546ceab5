"""Images and labels in two folders whose subfolders agree, paired by a pattern of their names.

    <images>/<subfolders>/<image name>       <labels>/<subfolders>/<label name>

A pattern is a file's name in which NAME stands for what an image and its label share: with
"NAME_leftImg8bit.png" and "NAME_labelIds.png", a/x_leftImg8bit.png and a/x_labelIds.png are the
frame "a/x". Without an ending a pattern stands for every ending that is read.
"""

import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.files.folder_scan import LeftOut, as_left_out, gathered, scan, what_is_there
from data_pipeline.files.names import is_folder, normal
from data_pipeline.segmentation.id_png import read_ids
from data_pipeline.segmentation.labels import LabelSpace
from data_pipeline.segmentation.layouts import Listing, has_labels, natural_order

SHARED = "NAME"  # of a pattern


class Pattern(NamedTuple):
    """A file's name before and after the part that image and label share."""

    before: str
    after: str
    endings: tuple[str, ...]  # one of them follows

    def frame_of(self, name: str) -> str | None:
        """What stands in a file's name for NAME; None for a file of another name."""
        stem, ending = os.path.splitext(name)
        inner = len(stem) - len(self.before) - len(self.after)
        if ending.lower() not in self.endings or inner < 1:
            return None
        if not (stem.startswith(self.before) and stem.endswith(self.after)):
            return None
        return stem[len(self.before) : len(self.before) + inner]

    def file_of(self, frame: str) -> str:
        """The path of a frame "a/x" below its folder."""
        folder, _, name = frame.rpartition("/")
        return f"{folder}{'/' if folder else ''}{self.before}{name}{self.after}{self.endings[0]}"

    def __str__(self):
        return f"{self.before}{SHARED}{self.after}{'|'.join(self.endings)}"


class Tree(NamedTuple):
    """A folder of images and the one of their labels, below the root."""

    images: str
    labels: str


def parse_pattern(text: str, endings: Sequence[str], key: str) -> Pattern:
    """Reads "NAME_L.png" or "NAME_L".

    Args:
      endings: that are read, in lower case.
      key: what messages call the pattern.
    Raises: DataError, naming the key, for a pattern without NAME or with two, with a folder, or
      with an ending that is not read.
    """
    stem, ending = text, ""
    if "." in text.rpartition(SHARED)[2]:
        stem, ending = os.path.splitext(text)
    if stem.count(SHARED) != 1 or "/" in text or (ending and ending.lower() not in endings):
        raise DataError(
            f"{key} is {text!r}; expected the name of a file with {SHARED} for what an image and"
            f" its label share, such as {SHARED}_L.png, and none of the ending or one of"
            f" {', '.join(endings)}"
        )
    before, after = stem.split(SHARED)
    return Pattern(before, after, (ending.lower(),) if ending else tuple(endings))


def list_trees(
    name: str,
    root: pathlib.Path,
    trees: Iterable[Tree],
    image_name: Pattern,
    label_name: Pattern,
    space: LabelSpace,
    where: str,
    *,
    expected: str,
    is_of_the_split: Callable[[str], bool] = lambda frame: True,
    companion: str = "",
    label_reader: Callable[[str], np.ndarray] = read_ids,
) -> Listing:
    """The frames of one or several trees, in the natural order of their paths.

    Args:
      name: of the set.
      where: what messages call the config.
      expected: the layout in words, for a message that misses the images.
      is_of_the_split: frame -> whether it is; for sets whose splits share a folder.
      companion: what the names of files hold that lie beside the labels in the official download,
        and are not counted as left out.
      label_reader: path -> ids.
    Raises: DataError without an image, for a folder of labels without any, and where no label has
      the name of an image.
    """
    trees, images, labels, left_out = list(trees), {}, {}, []
    have_labels = False
    prefix = (lambda tree: f"{tree.images}/") if len(trees) > 1 else (lambda tree: "")
    for tree in trees:
        if is_folder(root / tree.images):
            found, beside = _frames(root / tree.images, image_name, "")
            images |= {prefix(tree) + frame: path for frame, path in found.items()}
            left_out += beside
        if has_labels(root, tree.labels):
            have_labels = True
            found, beside = _frames(root / tree.labels, label_name, companion)
            labels |= {prefix(tree) + frame: path for frame, path in found.items()}
            left_out += beside
    images = {frame: path for frame, path in images.items() if is_of_the_split(frame)}
    labels = {frame: path for frame, path in labels.items() if is_of_the_split(frame)}
    if not images:
        first = trees[0].images
        there = first if is_folder(root / first) else ""
        raise DataError(
            f"{root}: no {image_name} under {', '.join(tree.images for tree in trees)}; there:"
            f" {what_is_there(root / there)}{f' (in {root / there})' if there else ''};"
            f" {expected}; set {where}.root to the folder that holds it"
        )
    if have_labels:
        _check_labels(root, trees, images, labels, label_name, where)

    def label_of(frame):
        for tree in trees:
            if frame.startswith(prefix(tree)):
                inner = frame.removeprefix(prefix(tree))
                return str(root / tree.labels / label_name.file_of(inner))
        raise AssertionError(f"{frame} is of no tree")

    return Listing(
        name,
        str(root),
        images,
        labels if have_labels else None,
        label_of,
        space,
        read_ids=label_reader,
        left_out=gathered(left_out),
    )


def _check_labels(root, trees, images, labels, label_name, where):
    """Refuses a folder of labels that holds none, or none of any image: their names do not fit the
    patterns, which says more than a line for each image.
    """
    folder = next(tree.labels for tree in trees if is_folder(root / tree.labels))
    if not labels:
        raise DataError(
            f"{root / folder}: no {label_name}; there: {what_is_there(root / folder)}; put the"
            f" labels there, say how they are named ({where}.label_name), or remove the folder for"
            " an unlabelled set"
        )
    if images.keys().isdisjoint(labels):
        image, label = next(iter(images.values())), next(iter(labels.values()))
        raise DataError(
            f"{label}: none of the {len(labels):,} labels has the name of an image, {image} for"
            f" one; say how both are named with image_name and label_name, in which {SHARED} is"
            f" what they share: label_name={SHARED}_L.png (or {where}.label_name)"
        )


def _frames(base, pattern: Pattern, companion: str) -> tuple[dict[str, str], list[LeftOut]]:
    """{"a/x": file} below a folder, and what else is there."""
    frames, places, left_out = {}, {}, []
    for folder, inner, found in _folders(base):
        left_out += found.left_out
        others = []
        for name in found.files:
            shared = pattern.frame_of(name)
            if shared is None:
                if not (companion and companion in name):
                    others.append(name)
                continue
            frame = normal(f"{inner}{shared}")
            if frame in frames:
                raise DataError(
                    f"{folder / name}: a second file named {frame!r}, beside {frames[frame]};"
                    " rename or remove one"
                )
            frames[frame], places[frame] = str(folder / name), f"{inner}{name}"
        left_out += as_left_out(folder, others, f"that are not named {pattern}")
    order = sorted(frames, key=lambda frame: natural_order(places[frame]))
    return {frame: frames[frame] for frame in order}, left_out


def _folders(base):
    """(folder, its path below base with a slash, what is in it) of a folder and all below; each
    once, whatever links lead back.
    """
    seen, waiting = set(), [(pathlib.Path(base), "")]
    while waiting:
        folder, inner = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        found = scan(folder, ("",))
        yield folder, inner, found
        waiting += [(folder / name, f"{inner}{name}/") for name in reversed(found.folders)]
