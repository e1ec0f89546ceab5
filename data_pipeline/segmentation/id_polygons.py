"""Label ids of IDD, whose download holds polygons and no pictures of labels.

    {"imgHeight": 1080, "imgWidth": 1920, "objects": [{"label": "road", "polygon": [[x, y], ...]}]}

They are drawn as preperation/json2labelImg.py of AutoNUE/public-code draws them: in the order of
the file, the later over the earlier, over "unlabeled".
"""

import json

import numpy as np
from PIL import Image, ImageDraw

from data_pipeline.decode import check_num_pixels, unreadable_file
from data_pipeline.errors import DataError
from data_pipeline.segmentation.street_spaces import IDD_IDS

_GROUP = "group"  # "cargroup" is several cars that nobody told apart


def read_polygon_ids(path: str) -> np.ndarray:
    """Ids of a file of IDD's polygons: uint8 [H, W].

    Raises: DataError, naming the file, when it cannot be read, is no such file, or names a class
      that IDD does not have.
    """
    tree, (height, width) = _read(path)
    picture = Image.new("L", (width, height), IDD_IDS["unlabeled"])
    draw = ImageDraw.Draw(picture)
    for entry in _objects(tree, path):
        if entry.get("deleted"):
            continue
        name, corners = entry.get("label"), entry.get("polygon")
        if isinstance(name, str) and name not in IDD_IDS:
            name = name.removesuffix(_GROUP)
        if name not in IDD_IDS:
            raise DataError(
                f"{path}: label {entry.get('label')!r} is no class of IDD; use the file as"
                " downloaded"
            )
        try:
            points = [(float(x), float(y)) for x, y in corners]
        except (TypeError, ValueError) as error:
            raise _no_polygons(path, f"a polygon of {name!r} has no corners [x, y]") from error
        if len(points) >= 2:  # a point covers nothing, and PIL refuses it
            draw.polygon(points, fill=IDD_IDS[name])
    return np.asarray(picture)


def polygon_label_hw(path: str) -> tuple[int, int]:
    """(height, width) of the labels that a file of polygons describes. Errors as
    read_polygon_ids.
    """
    return _read(path)[1]


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            tree = json.load(file)
    except OSError as error:
        raise unreadable_file(path, error) from error
    except ValueError as error:
        raise _no_polygons(path, f"it is no JSON: {error}") from error
    sides = [tree.get(key) for key in ("imgHeight", "imgWidth")] if isinstance(tree, dict) else []
    if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
        raise _no_polygons(path, "it has no imgHeight and imgWidth")
    check_num_pixels(sides[1], sides[0], path)
    return tree, tuple(sides)


def _objects(tree, path):
    found = tree.get("objects")
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise _no_polygons(path, "it has no list of objects")
    return found


def _no_polygons(path, problem) -> DataError:
    return DataError(
        f"{path}: cannot be read as IDD's polygons: {problem}; unpack gtFine of the download again"
    )
