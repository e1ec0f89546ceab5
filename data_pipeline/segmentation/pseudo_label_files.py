"""Pseudo-labels on disk: what a network predicts for a set of images, as PNG files of train ids
that the ordinary readers read.

    <root>/labels/<name>.png     8-bit palette PNG, named as its image: train ids 0..K-1, 255 for
                                 ignored, in the colours of the data set; in the subfolders of the
                                 images where two of these have one name
    <root>/classes.csv           what the ids are
    <root>/pseudo_labels.json    how they were made; written last

With the images under <root>/images the folder is a data set "own". It is written under a temporary
name and renamed when complete, as in scenes.sets: a folder is finished or absent, never half done,
and what a killed process left is written anew. `read` returns the set of images with these labels
in place of any others.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from data_pipeline.errors import DataError
from data_pipeline.segmentation.class_csv import write_classes
from data_pipeline.segmentation.id_png import read_ids
from data_pipeline.segmentation.labels import IGNORED, train_id_space
from data_pipeline.segmentation.segmentation_set import SegmentationSet, image_size_hw

VERSION = 1
MARKER = "pseudo_labels.json"
# PNG specification, 5.2 and 11.2.5: the signature, and the chunk that ends a file.
_PNG_BEGIN, _PNG_END = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"


def write(
    root: str | os.PathLike,
    image_set: SegmentationSet,
    labels: Iterable[np.ndarray],
    *,
    origin: Mapping[str, Any],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SegmentationSet:
    """Writes one label per image, and returns what `read` does. One label is in memory at a time.

    Args:
      root: a new or an empty folder, made if need be.
      image_set: the images, whose own labels are not looked at.
      labels: integers [H, W] of the size of the image, in the order of the set: train ids, or
        IGNORED.
      origin: how they were made (checkpoint, thresholds, rule ...), for the record and for `read`;
        JSON values.
      progress: called with (labels written, their number) after each.
    Raises: DataError when root holds something, images share a name, a label does not fit its
      image, there are more or fewer labels than images, or the folder cannot be written. Then
        nothing is under root.
    """
    begin(root)
    write_some(root, image_set, enumerate(labels), progress=progress)
    return finish(root, image_set, origin=origin)


def begin(root: str | os.PathLike) -> None:
    """Makes the unfinished folder, which `write_some` fills and `finish` renames. Several processes
    fill one together: one of them begins and finishes it.

    Raises: DataError as `write`.
    """
    root = _absolute(root)
    with _told(root):
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise DataError(
                f"{root}: holds files already; choose a new folder for the pseudo-labels, or remove"
                " this one"
            )
        unfinished = _unfinished(root)
        if unfinished.exists():  # left by a process that was killed
            shutil.rmtree(unfinished)
        (unfinished / "labels").mkdir(parents=True)


def write_some(
    root: str | os.PathLike,
    image_set: SegmentationSet,
    labels: Iterable[tuple[int, np.ndarray]],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes labels into the folder that was begun.

    Args:
      labels: (number of the image in its set, its label), see `write`.
    Raises: DataError as `write`, but for labels that are missing.
    """
    root = _absolute(root)
    with _told(root):
        _write_labels(_unfinished(root), image_set, labels, progress)


def finish(
    root: str | os.PathLike, image_set: SegmentationSet, *, origin: Mapping[str, Any]
) -> SegmentationSet:
    """Gives the folder that was begun and filled its name, and returns what `read` does.

    Raises: DataError as `write`.
    """
    root = _absolute(root)
    unfinished, names = _unfinished(root), _label_names(image_set)
    written = sum((unfinished / "labels" / name).exists() for name in names)
    if written < len(names):
        raise DataError(
            f"{image_set.name}: {written:,} pseudo-labels for {len(names):,} images; expected one"
            " each"
        )
    with _told(root):
        write_classes(unfinished / "classes.csv", train_id_space(image_set.space))
        (unfinished / MARKER).write_text(json.dumps(_record(image_set, origin), indent=1) + "\n")
        os.rename(unfinished, root)  # over an empty folder too
    return _with_labels(root, image_set)


@contextlib.contextmanager
def _told(root):
    """What the file system says, as a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{root}: cannot write the pseudo-labels there: {error}; choose a folder that you may"
            " write"
        ) from error


def _unfinished(root):
    return root.parent / f".{root.name}.unfinished"


def is_finished(
    root: str | os.PathLike, image_set: SegmentationSet, *, origin: Mapping[str, Any] | None
) -> bool:
    """Whether the pseudo-labels of these images and this origin (None: of any) are there; False
    where nothing is.

    Raises: DataError when root holds anything else, naming the difference.
    """
    root, expected = _absolute(root), _record(image_set, origin)
    try:
        found = json.loads((root / MARKER).read_text())
    except (FileNotFoundError, NotADirectoryError):
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise DataError(
                f"{root}: holds files, but no {MARKER}, so it is no folder of pseudo-labels; choose"
                " an empty or a new folder"
            ) from None
        return False
    except (OSError, ValueError) as error:
        raise DataError(
            f"{root / MARKER}: cannot be read: {error}; remove the folder {root}, and the"
            " pseudo-labels are made anew"
        ) from error
    known = found if isinstance(found, dict) else {}
    if origin is None:
        expected["origin"] = known.get("origin")
    if found != expected:
        differing = ", ".join(
            f"{key} {known.get(key)} instead of {value}"
            for key, value in expected.items()
            if known.get(key) != value
        )
        raise DataError(
            f"{root}: other pseudo-labels ({differing or 'unknown keys'}); choose another folder,"
            " or remove this one"
        )
    return True


def read(
    root: str | os.PathLike, image_set: SegmentationSet, *, origin: Mapping[str, Any] | None = None
) -> SegmentationSet:
    """The images with the pseudo-labels under root as their labels, and none but these; decodes
    nothing.

    Raises: DataError when they are not there, or are of other images, classes or another origin, or
    when a file is gone.
    """
    if not is_finished(root, image_set, origin=origin):
        raise DataError(f"{_absolute(root)}: no pseudo-labels; run the stage that makes them first")
    return _with_labels(_absolute(root), image_set)


def problem(
    root: str | os.PathLike, image_set: SegmentationSet, *, origin: Mapping[str, Any] | None = None
) -> str | None:
    """Why the pseudo-labels of these images cannot be used as they are: none, others, a file that
    is gone, emptied, zeroed or cut; None where there is no reason. Looks at the begin and the end
    of each file; what lies between, the checksums of the PNG format vouch for when it is read.
    """
    try:
        made = read(root, image_set, origin=origin)
    except DataError as error:
        return str(error).partition(";")[0]
    for path in made.label_paths:
        with open(path, "rb") as file:
            head = file.read(len(_PNG_BEGIN))
            file.seek(max(os.fstat(file.fileno()).st_size - len(_PNG_END), 0))
            if (head, file.read()) != (_PNG_BEGIN, _PNG_END):
                return f"{path}: this pseudo-label is damaged"
    return None


def origin_of(root: str | os.PathLike) -> dict | None:
    """How the finished pseudo-labels under root were made, see `write`.

    Raises: DataError when they are not there, or their record cannot be read.
    """
    path = _absolute(root) / MARKER
    try:
        return json.loads(path.read_text())["origin"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read: {error}; remove its folder, and the pseudo-labels are made"
            " anew"
        ) from error


def discard(root: str | os.PathLike) -> None:
    """Removes a folder of pseudo-labels, damaged or whole; of anything else it is left alone."""
    root = _absolute(root)
    if (root / MARKER).exists():
        shutil.rmtree(root)


def _absolute(root) -> pathlib.Path:
    return pathlib.Path(os.path.abspath(os.path.expanduser(root)))


def _record(image_set, origin) -> dict:
    """What the marker holds, as it comes back from JSON."""
    unlabelled = image_set.without_labels()
    record = {
        "version": VERSION,
        "set": image_set.name,
        "count": len(image_set),
        "images": unlabelled.fingerprint(),
        "classes": list(image_set.class_names),
        "origin": None if origin is None else dict(origin),
    }
    return json.loads(json.dumps(record))


def _label_names(image_set) -> list[str]:
    """The label file of each image: its name with .png, below labels/. Where two images in
    different folders have one name, the folders are part of it.
    """
    paths = [os.path.splitext(path)[0] + ".png" for path in image_set.image_paths]
    names = [os.path.basename(path) for path in paths]
    if len(set(names)) < len(names):
        shared = os.path.commonpath([os.path.dirname(path) for path in paths])
        names = [os.path.relpath(path, shared) for path in paths]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise DataError(
            f"{image_set.name}: two images would share the pseudo-label {twice}; rename one of them"
        )
    return names


def check_names(image_set: SegmentationSet) -> None:
    """Raises DataError when pseudo-labels for these images could not be written: two of them would
    have one name.
    """
    _label_names(image_set)


def _write_labels(folder, image_set, labels, progress):
    space = train_id_space(image_set.space)
    names, palette = _label_names(image_set), _palette(space)
    for done, (number, label) in enumerate(labels, 1):
        if number >= len(names):
            raise DataError(
                f"{image_set.name}: more pseudo-labels than its {len(names):,} images; expected one"
                " each"
            )
        label = np.asarray(label)
        image_hw = image_size_hw(image_set.image_paths[number])
        if label.shape != image_hw:
            raise DataError(
                f"{image_set.describe(number)}: a pseudo-label of shape {label.shape} for an image"
                f" of {image_hw}; resize the logits to it"
            )
        if not np.isin(label, [entry.id for entry in space.classes]).all():
            raise DataError(
                f"{image_set.describe(number)}: pseudo-labels {np.unique(label).tolist()}; expected"
                f" 0..{space.num_classes - 1} and {IGNORED}"
            )
        picture = Image.fromarray(label.astype(np.uint8))
        picture.putpalette(palette)
        path = folder / "labels" / names[number]
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
        progress(done, len(names))


def _palette(space) -> list[int]:
    """256 RGB triples in a row; black where no class is."""
    colors = np.zeros((256, 3), int)
    colors[: space.num_classes] = space.palette
    return colors.ravel().tolist()


def _with_labels(root, image_set) -> SegmentationSet:
    paths = tuple(str(root / "labels" / name) for name in _label_names(image_set))
    for path in paths:
        if not os.path.exists(path):
            raise DataError(
                f"{path}: this pseudo-label is gone; remove the folder {root}, and the"
                " pseudo-labels are made anew"
            )
    return dataclasses.replace(
        image_set,
        label_paths=paths,
        space=train_id_space(image_set.space),
        read_ids=read_ids,
        size_tolerance=0.0,
    )
