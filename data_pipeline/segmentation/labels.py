"""What the numbers in label files mean: one table of named classes per data set, and everything
that is derived from it.

Train ids number the classes that a network predicts; 255 is ignored by every loss and metric.
Sources: Cityscapes (and GTA5, Synscapes, which use its ids): cityscapesscripts/helpers/labels.py;
SYNTHIA: the README of SYNTHIA-RAND-CITYSCAPES, its map to 19 classes from CLAN's code, to 16 from
later work (SPCL, DASS, PLCA, CRST #10).
"""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_pipeline.errors import DataError

IGNORED = 255
_UNKNOWN = 254


class LabelClass(NamedTuple):
    """One value that label files may hold."""

    name: str
    id: int  # in the file, 0..255
    train_id: int  # 0..K-1, or IGNORED
    color: tuple[int, int, int]  # RGB


@dataclasses.dataclass(frozen=True)
class LabelSpace:
    """All ids of a data set's label files, and the classes that a network learns from them.

    name: for messages: the data set, or the CSV file that defines the classes.
    id_scheme: whose ids the files hold: "cityscapes", "synthia", "own" or "train_ids".
    classes: one entry per id. Several ids may share a train id; the first of them names and colours
    the class. Raises DataError on a duplicate id, a number outside 0..255, and train ids that are
    not 0..K-1 without a gap.
    """

    name: str
    id_scheme: str
    classes: tuple[LabelClass, ...]

    def __post_init__(self):
        for i, entry in enumerate(self.classes):
            if not all(0 <= value <= 255 for value in (entry.id, entry.train_id, *entry.color)):
                raise DataError(
                    f"{self.name}: class {entry.name!r} has a number outside 0..255:"
                    f" {tuple(entry)}; correct it"
                )
            if entry.id in (other.id for other in self.classes[:i]):
                raise DataError(
                    f"{self.name}: id {entry.id} ({entry.name!r}) is there twice; an id has one row"
                )
        found = sorted({entry.train_id for entry in self.classes} - {IGNORED})
        if not found or found != list(range(len(found))):
            raise DataError(
                f"{self.name}: the train ids are {found}; expected 0, 1, 2 ... without a gap, and"
                f" {IGNORED} for ignored ids"
            )
        if len(set(self.class_names)) < self.num_classes:
            raise DataError(
                f"{self.name}: two train ids have a class of the same name:"
                f" {', '.join(self.class_names)}; rename one"
            )

    @functools.cached_property
    def trained(self) -> tuple[LabelClass, ...]:
        """The K classes in the order of their train ids."""
        first = {entry.train_id: entry for entry in reversed(self.classes)}
        return tuple(first[k] for k in sorted(first) if k != IGNORED)

    @functools.cached_property
    def num_classes(self) -> int:
        """K, the ignored ones not counted."""
        return len(self.trained)

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        """K names in the order of the train ids."""
        return tuple(entry.name for entry in self.trained)

    @functools.cached_property
    def palette(self) -> np.ndarray:
        """RGB of each class, uint8 [K, 3]. Ignored pixels are drawn black by convention."""
        return np.array([entry.color for entry in self.trained], np.uint8)

    @functools.cached_property
    def lut(self) -> np.ndarray:
        """uint8 [256]: id -> train id; IGNORED for ids that are ignored and for those that the
        table does not know.
        """
        lut = np.full(256, IGNORED, np.uint8)
        for entry in self.classes:
            lut[entry.id] = entry.train_id
        return lut

    @functools.cached_property
    def is_known(self) -> np.ndarray:
        """bool [256]: the ids that the table knows."""
        return np.isin(np.arange(256), [entry.id for entry in self.classes])


def train_id_space(space: LabelSpace) -> LabelSpace:
    """The same classes for files that hold train ids already, such as pseudo-labels: 0..K-1, and
    IGNORED.
    """
    classes = tuple(
        LabelClass(entry.name, k, k, entry.color) for k, entry in enumerate(space.trained)
    )
    return LabelSpace(
        f"{space.name} (train ids)",
        "train_ids",
        (*classes, LabelClass("ignored", IGNORED, IGNORED, (0, 0, 0))),
    )


def map_ids(ids: np.ndarray, space: LabelSpace, path: str) -> np.ndarray:
    """Ids of a label file, uint8 or uint16 [H, W], as train ids, uint8 [H, W].

    Raises: DataError that names the file and the value when the table does not know an id.
    """
    if ids.dtype == np.uint8 or ids.max(initial=0) <= 255:
        # PIL looks up in half of numpy's time. Unknown ids become a mark, which is a train id only
        # where there are 255 classes.
        marked = np.where(space.is_known, space.lut, _UNKNOWN)
        label = np.asarray(Image.fromarray(ids.astype(np.uint8, copy=False)).point(marked.tolist()))
        if not (label == _UNKNOWN).any() or space.is_known[ids].all():
            return label
    raise DataError(f"{path}: {unknown_ids(*np.unique(ids, return_counts=True), space)}")


def unknown_ids(values: np.ndarray, counts: np.ndarray, space: LabelSpace) -> str | None:
    """What is wrong with a file's ids and the likely remedy, in one line without the file's name;
    None when all are known.

    Args:
      values, counts: integers [n], the distinct ids of a file and how many pixels have each.
    """
    is_unknown = (values > 255) | ~space.is_known[np.minimum(values, 255)]
    if not is_unknown.any():
        return None
    ids = values[is_unknown].tolist()
    shown = ", ".join(map(str, ids[:5])) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
    if space.id_scheme == "own":
        remedy = f"add a row for it to {space.name}, with train_id {IGNORED} if it is to be ignored"
    elif space.id_scheme == "train_ids":
        remedy = (
            f"expected train ids 0..{space.num_classes - 1} and {IGNORED}: remove the folder of"
            " this file, and make the labels anew"
        )
    elif set(values.tolist()) <= {*range(19), IGNORED}:
        remedy = "all its values are TrainIds (0..18 and 255): use the files with the original ids"
    elif max(ids) > 255:
        remedy = "it looks like an instance file: use the file with the class ids"
    else:
        remedy = f"use the label file as downloaded, which holds {space.id_scheme} ids"
    return f"id {shown} ({counts[is_unknown].sum():,} pixels) is no id of {space.name}; {remedy}"


# Official name, id, train id and colour. Id -1 (license plate) is not drawn in the official PNG
# files; as a byte it would be 255.
_CITYSCAPES_CLASSES = (
    LabelClass("unlabeled", 0, 255, (0, 0, 0)),
    LabelClass("ego vehicle", 1, 255, (0, 0, 0)),
    LabelClass("rectification border", 2, 255, (0, 0, 0)),
    LabelClass("out of roi", 3, 255, (0, 0, 0)),
    LabelClass("static", 4, 255, (0, 0, 0)),
    LabelClass("dynamic", 5, 255, (111, 74, 0)),
    LabelClass("ground", 6, 255, (81, 0, 81)),
    LabelClass("road", 7, 0, (128, 64, 128)),
    LabelClass("sidewalk", 8, 1, (244, 35, 232)),
    LabelClass("parking", 9, 255, (250, 170, 160)),
    LabelClass("rail track", 10, 255, (230, 150, 140)),
    LabelClass("building", 11, 2, (70, 70, 70)),
    LabelClass("wall", 12, 3, (102, 102, 156)),
    LabelClass("fence", 13, 4, (190, 153, 153)),
    LabelClass("guard rail", 14, 255, (180, 165, 180)),
    LabelClass("bridge", 15, 255, (150, 100, 100)),
    LabelClass("tunnel", 16, 255, (150, 120, 90)),
    LabelClass("pole", 17, 5, (153, 153, 153)),
    LabelClass("polegroup", 18, 255, (153, 153, 153)),
    LabelClass("traffic light", 19, 6, (250, 170, 30)),
    LabelClass("traffic sign", 20, 7, (220, 220, 0)),
    LabelClass("vegetation", 21, 8, (107, 142, 35)),
    LabelClass("terrain", 22, 9, (152, 251, 152)),
    LabelClass("sky", 23, 10, (70, 130, 180)),
    LabelClass("person", 24, 11, (220, 20, 60)),
    LabelClass("rider", 25, 12, (255, 0, 0)),
    LabelClass("car", 26, 13, (0, 0, 142)),
    LabelClass("truck", 27, 14, (0, 0, 70)),
    LabelClass("bus", 28, 15, (0, 60, 100)),
    LabelClass("caravan", 29, 255, (0, 0, 90)),
    LabelClass("trailer", 30, 255, (0, 0, 110)),
    LabelClass("train", 31, 16, (0, 80, 100)),
    LabelClass("motorcycle", 32, 17, (0, 0, 230)),
    LabelClass("bicycle", 33, 18, (119, 11, 32)),
)
_PLATE_AS_BYTE = LabelClass("license plate", 255, 255, (0, 0, 142))

CITYSCAPES = LabelSpace("cityscapes", "cityscapes", (*_CITYSCAPES_CLASSES, _PLATE_AS_BYTE))
SYNSCAPES = LabelSpace("synscapes", "cityscapes", (*_CITYSCAPES_CLASSES, _PLATE_AS_BYTE))
GTA5 = LabelSpace(
    "gta5", "cityscapes", (*_CITYSCAPES_CLASSES, LabelClass("license plate", 34, 255, (0, 0, 142)))
)

# SYNTHIA's names by id (0..22), in Cityscapes' words where both have the class.
_SYNTHIA_NAMES = (
    "void",
    "sky",
    "building",
    "road",
    "sidewalk",
    "fence",
    "vegetation",
    "pole",
    "car",
    "traffic sign",
    "person",
    "bicycle",
    "motorcycle",
    "parking slot",
    "road work",
    "traffic light",
    "terrain",
    "rider",
    "truck",
    "bus",
    "train",
    "wall",
    "lane marking",
)
# train ids 9, 14, 16: ids without a single pixel in RAND_CITYSCAPES
_NOT_IN_SYNTHIA = ("terrain", "truck", "train")


def _with_train_ids(
    names_by_id: tuple[str, ...], class_names: tuple[str, ...]
) -> tuple[LabelClass, ...]:
    """A table whose train ids are the positions in `class_names`; colours are Cityscapes' so that
    pictures can be compared.
    """
    color = {entry.name: entry.color for entry in _CITYSCAPES_CLASSES}
    return tuple(
        LabelClass(
            name,
            i,
            class_names.index(name) if name in class_names else IGNORED,
            color.get(name, (0, 0, 0)),
        )
        for i, name in enumerate(names_by_id)
    )


# The head of 16 has train ids of its own: Cityscapes' order with 9, 14 and 16 left out, as SPCL,
# DASS and CRST number it (PLCA's released weights have another order). CITYSCAPES_16 labels the
# target for it.
CLASSES_16 = tuple(name for name in CITYSCAPES.class_names if name not in _NOT_IN_SYNTHIA)
SYNTHIA = LabelSpace("synthia", "synthia", _with_train_ids(_SYNTHIA_NAMES, CLASSES_16))
SYNTHIA_CLAN = LabelSpace(
    "synthia_clan", "synthia", _with_train_ids(_SYNTHIA_NAMES, CITYSCAPES.class_names)
)
CITYSCAPES_16 = LabelSpace(
    "cityscapes_16",
    "cityscapes",
    (
        *_with_train_ids(tuple(entry.name for entry in _CITYSCAPES_CLASSES), CLASSES_16),
        _PLATE_AS_BYTE,
    ),
)

# Train ids of the 19 classes over which mIoU is reported.
SUBSETS = {
    "19": tuple(range(19)),
    "16": tuple(k for k in range(19) if k not in (9, 14, 16)),  # what SYNTHIA has
    # mIoU*: also without wall, fence and pole
    "13": tuple(k for k in range(19) if k not in (9, 14, 16, 3, 4, 5)),
    # below 1 % of the pixels of Cityscapes val (SPCL, appendix B)
    "tail": (3, 4, 6, 7, 9, 12, 14, 15, 16, 17, 18),
}


def subsets_of(space: LabelSpace) -> dict[str, tuple[int, ...]]:
    """Those SUBSETS that a space has all the classes of, in its own train ids: {"16", "13"} for
    SYNTHIA, none for other classes.
    """
    position = {name: k for k, name in enumerate(space.class_names)}
    names = {key: [CITYSCAPES.class_names[k] for k in ids] for key, ids in SUBSETS.items()}
    return {
        key: tuple(position[name] for name in members)
        for key, members in names.items()
        if set(members) <= set(position)
    }
