"""Reads segmentation data from its folders as downloaded; nothing is converted.

    gta5        images/00001.png
                labels/00001.png, with a palette
    synthia     RGB/0000000.png
                GT/LABELS/0000000.png, 16 bit, ids in channel 0
    synscapes   img/rgb-2k/1.png, or img/rgb/1.png, by its split
                img/class/1.png
    cityscapes  leftImg8bit/<split>/<city>/<frame>_leftImg8bit.png
                gtFine/<split>/<city>/<frame>_gtFine_labelIds.png
    own         images/<name>.png, or .jpg, .bmp, in subfolders too
                labels/<name>.png, in the same subfolders, and a CSV of the classes

and those of `street_sets`: acdc, dark_zurich, bdd100k, idd, mapillary, camvid.

The labels of own data hold ids, or the colours of the CSV, see `color_labels`. An image and its
label are a pair where their names are the same word, in whichever Unicode form, or as the patterns
image_name and label_name have it, see `trees`. Everything in these folders that is not read is
counted and named, see `folder_scan`.

"scenes_source" and "scenes_target" are the embedded scenes, in gta5's and cityscapes' layout.
Without the folder of labels a set is unlabelled.
"""

import functools
import os
from collections.abc import Mapping
from typing import Any

from data_pipeline.errors import DataError
from data_pipeline.files.folder_scan import scan
from data_pipeline.files.names import data_root, is_folder
from data_pipeline.preprocess import IMAGE_ENDINGS
from data_pipeline.segmentation import labels as tables
from data_pipeline.segmentation.class_csv import read_classes
from data_pipeline.segmentation.color_labels import read_ids_or_colors
from data_pipeline.segmentation.id_png import read_synthia_ids
from data_pipeline.segmentation.labels import LabelSpace
from data_pipeline.segmentation.layouts import Listing, list_cityscapes, list_flat, unpaired
from data_pipeline.segmentation.segmentation_set import SegmentationSet
from data_pipeline.segmentation.street_sets import NAMES as STREET_SETS
from data_pipeline.segmentation.street_sets import list_street_set, street_space
from data_pipeline.segmentation.trees import SHARED, Tree, list_trees, parse_pattern

KNOWN = (
    *("gta5", "synthia", "synscapes", "cityscapes"),
    *STREET_SETS,
    *("own", "scenes_source", "scenes_target"),
)

# Users report GTA5 frames "off by a few pixels" from their labels, and all released loaders resize
# both to one size without a look.
_GTA5_SIZE_TOLERANCE = 0.01

_SYNTHIA_SPACES = {"synthia": tables.SYNTHIA, "synthia_clan": tables.SYNTHIA_CLAN}
# Folder of the images below img -> size of a label, 1440x720, over that of its image, 2048x1024 or
# the same (synscapes.on.liu.se/features.html).
_SYNSCAPES_LABEL_SCALES = {"rgb-2k": 1440 / 2048, "rgb": 1.0}
_CITYSCAPES_SPACES = {"cityscapes": tables.CITYSCAPES, "cityscapes_16": tables.CITYSCAPES_16}


def read_domain(config: Mapping[str, Any], where: str = "config.data") -> SegmentationSet:
    """Lists the images and labels of one domain, in the order of the official lists; decodes
    nothing.

    Args:
      config: `dataset` (one of KNOWN) and `root`; besides, `split` for cityscapes, scenes_target,
        the STREET_SETS and synscapes ("rgb-2k" or "rgb"); `space` for cityscapes and the
        STREET_SETS ("cityscapes" or "cityscapes_16") and synthia ("synthia", 16 classes, or
        "synthia_clan", 19); for own `classes`, a CSV file, relative to root or absolute, and the
        patterns `image_name` and `label_name`, which may be missing.
      where: what messages call the config.
    Raises: DataError for a wrong config, a missing or empty folder, TrainIds files alone where
      label ids are expected, and an image without label or the reverse.
    """
    listing = list_files(config, where)
    problems = unpaired(listing)
    if problems:
        more = len(problems) - 1
        others = f" ({more:,} more such files; --mode=check_data lists them)" if more else ""
        raise DataError(problems[0] + others)
    label_paths = None
    if listing.labels is not None:
        label_paths = tuple(listing.labels[frame] for frame in listing.images)
    return SegmentationSet(
        name=listing.name,
        image_paths=tuple(listing.images.values()),
        label_paths=label_paths,
        space=listing.space,
        read_ids=listing.read_ids,
        size_tolerance=listing.size_tolerance,
        left_out=listing.left_out,
        label_scale=listing.label_scale,
        label_hw=listing.label_hw,
    )


def list_files(config: Mapping[str, Any], where: str = "config.data") -> Listing:
    """The files of one domain, paired or not. Arguments and errors as read_domain, except that
    files without a partner are no error.
    """
    dataset = _known(config, where)
    root = data_root(str(_value(config, "root", where)), f"{where}.root")
    if dataset in ("cityscapes", "scenes_target"):
        space = read_space(config, where)
        listing = list_cityscapes(dataset, root, str(_value(config, "split", where)), space, where)
    elif dataset == "synthia":
        listing = list_flat(dataset, root, "RGB", "GT/LABELS", read_space(config, where), where)
        listing = listing._replace(read_ids=read_synthia_ids)
    elif dataset == "synscapes":
        label_scale = _choice(config, "split", _SYNSCAPES_LABEL_SCALES, where)
        images = f"img/{config['split']}"
        listing = list_flat(dataset, root, images, "img/class", tables.SYNSCAPES, where)
        listing = listing._replace(label_scale=label_scale)
    elif dataset in STREET_SETS:
        space = _choice(config, "space", _CITYSCAPES_SPACES, where)
        split = str(_value(config, "split", where))
        listing = list_street_set(dataset, root, split, space is tables.CITYSCAPES_16, where)
    elif dataset == "own":
        listing = _list_own(config, root, where)
    else:
        listing = list_flat(dataset, root, "images", "labels", tables.GTA5, where)
        listing = listing._replace(size_tolerance=_GTA5_SIZE_TOLERANCE)
    return listing


def read_space(config: Mapping[str, Any], where: str = "config.data") -> LabelSpace:
    """What the ids in a domain's label files mean; looks for no image.

    Args:
      config, where: of read_domain.
    Raises: DataError for a wrong config, and for own data whose CSV file cannot be read.
    """
    dataset = _known(config, where)
    if dataset == "cityscapes":
        return _choice(config, "space", _CITYSCAPES_SPACES, where)
    if dataset == "synthia":
        return _choice(config, "space", _SYNTHIA_SPACES, where)
    if dataset in STREET_SETS:
        space = _choice(config, "space", _CITYSCAPES_SPACES, where)
        return street_space(dataset, space is tables.CITYSCAPES_16)
    if dataset == "own":
        root = data_root(str(_value(config, "root", where)), f"{where}.root")
        return read_classes(_classes_file(config, root, where))
    return {"scenes_target": tables.CITYSCAPES, "synscapes": tables.SYNSCAPES}.get(
        dataset, tables.GTA5
    )


def _known(config, where):
    dataset = _value(config, "dataset", where)
    if dataset not in KNOWN:
        raise DataError(
            f"unknown segmentation data set {dataset!r}; known: {', '.join(KNOWN)}; set"
            f" {where}.dataset"
        )
    return dataset


def _list_own(config, root, where):
    space = read_space(config, where)

    def pattern(key, endings):
        text = str(config[key]) if key in config else SHARED
        return parse_pattern(text, endings, f"{where}.{key}")

    return list_trees(
        "own",
        root,
        [Tree("images", "labels")],
        pattern("image_name", IMAGE_ENDINGS),
        pattern("label_name", (".png",)),
        space,
        where,
        expected=f"images end in {', '.join(IMAGE_ENDINGS)} and are named {where}.image_name",
        label_reader=functools.partial(read_ids_or_colors, space=space),
    )


def _classes_file(config, root, where):
    name = os.path.expanduser(str(_value(config, "classes", where)))
    if name and not is_folder(root / name):
        return root / name
    there = scan(root, (".csv",)).files or ["none"]
    raise DataError(
        f"{where}.classes is {name!r}; expected the CSV file of the classes"
        f" (id,name,train_id,r,g,b), below {root} or absolute; CSV files there: {', '.join(there)}"
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
