"""Labels of a user's own data whose pixels are the colours that the CSV of the classes gives them.

Drawing programs and labelling tools save pictures that a person can look at, RGB or with a palette.
Each colour becomes the id of its row in the CSV. A colour that no row has is an error; the nearest
one is never taken.
"""

import numpy as np

from data_pipeline.errors import DataError
from data_pipeline.segmentation.id_png import decoded, load, read_ids, read_png
from data_pipeline.segmentation.labels import LabelSpace

_RGB, _PALETTE, _RGBA = 2, 3, 6  # colour types of the PNG specification, section 11.2.2
_MOST_SHOWN = 3  # unknown colours of a file in a message


def read_ids_or_colors(path: str, *, space: LabelSpace) -> np.ndarray:
    """Ids of a label file of own data: uint8 or uint16 [H, W].

    Grey PNG files hold ids. 8-bit RGB and RGBA files hold the colours of the CSV. A palette PNG
    holds ids as its indices, with one exception: where all the colours of its palette are the
    CSV's, the colours count, because tools that save few colours number them as they like. Where
    only the colours in use are the CSV's, and they name other classes than the indices, the file is
    refused.

    Raises: DataError, naming the file, as id_png.read_ids does, for a colour that the CSV does not
      have, one that it has for two classes, and pixels that are partly transparent.
    """
    kind = _color_type(path)
    if kind not in (_RGB, _RGBA, _PALETTE):
        return read_ids(path)  # grey, or what is wrong with it
    data, *_ = read_png(path)  # which refuses what no label may be
    image = decoded(path, lambda: load(data))
    if kind != _PALETTE:
        return _ids_of_colors(np.asarray(image), path, space)
    colors = decoded(path, lambda: np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3))
    lut = _ids_of_palette(image, colors, path, space)
    return np.asarray(image) if lut is None else lut[np.asarray(image)]


def _color_type(path) -> int | None:
    """Colour type of an 8-bit PNG (a palette has up to 8 bits); None for all else, which read_ids
    explains.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(26)
    except OSError:
        return None
    is_png = head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR" and len(head) == 26
    return head[25] if is_png and (head[24] == 8 or head[25] == _PALETTE) else None


def _ids_of_colors(pixels, path, space) -> np.ndarray:
    if pixels.shape[2] == 4 and (pixels[:, :, 3] != 255).any():
        count = int((pixels[:, :, 3] != 255).sum())
        raise DataError(
            f"{path}: {count:,} pixels are transparent; expected a label with a colour at every "
            "pixel: save it without transparency"
        )
    packed = _packed(pixels[:, :, :3])
    values, places, counts = np.unique(packed, return_inverse=True, return_counts=True)
    id_of = _id_of_color(space)
    unknown = [
        (value, count)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True)
        if value not in id_of
    ]
    if unknown:
        unknown.sort(key=lambda found: -found[1])
        shown = ", ".join(
            f"{_shown(value)} ({count:,} pixels)" for value, count in unknown[:_MOST_SHOWN]
        )
        more = (
            f" and {len(unknown) - _MOST_SHOWN:,} more colours"
            if len(unknown) > _MOST_SHOWN
            else ""
        )
        raise DataError(
            f"{path}: colour {shown}{more} is none of {space.name}; add a row with it, or save the "
            "label with its colours as they are "
            "(no anti-aliasing, no JPEG in between)"
        )
    return np.array([id_of[value] for value in values.tolist()], np.uint8)[places].reshape(
        packed.shape
    )


def _ids_of_palette(image, colors, path, space) -> np.ndarray | None:
    """uint8 [256], index -> id, where the whole palette is of the CSV's colours; None where it is
    not.

    Files pad their palettes with black, which need not be a colour of the CSV.
    """
    known = {
        packed: label_id
        for packed, label_id in _id_of_color(space, refuse=False).items()
        if label_id is not None
    }
    packed = _packed(colors).tolist()
    used = [index for index, count in enumerate(image.histogram()[:256]) if count]
    _check_palette_is_clear(packed, used, known, path, space)
    if (
        max(used) >= len(packed)
        or any(value and value not in known for value in packed)
        or any(packed[i] not in known for i in used)
    ):
        return None
    # two indices look the same: the palette says nothing
    if len({packed[i] for i in used}) < len(used):
        return None
    lut = np.zeros(256, np.uint8)
    lut[: len(packed)] = [known.get(value, 0) for value in packed]
    return lut


def _check_palette_is_clear(packed, used, known, path, space):
    """Refuses a file whose indices and whose colours are both of the CSV, and of different classes.

    A palette that holds further colours, as drawing programs append them, does not say which of the
    two was meant. Black is no evidence, since palettes are padded with it and grey ones begin with
    it.
    """
    further = any(value and value not in known for value in packed)
    if (
        not further
        or max(used) >= len(packed)
        or any(packed[i] and packed[i] not in known for i in used)
        or not space.is_known[used].all()
    ):
        return
    for index in used:
        color = packed[index]
        if color and space.lut[known[color]] != space.lut[index]:
            name = {entry.id: entry.name for entry in space.classes}
            raise DataError(
                f"{path}: index {index} of its palette is the id of {name[index]!r} and has the"
                f" colour of {name[known[color]]!r}, {_shown(color)}, in {space.name}; save the"
                " label as grey PNG of ids, or as RGB with the colours"
            )


def _id_of_color(space, refuse=True) -> dict[int, int | None]:
    """{packed colour: id}. Ids of one train id may share a colour: the first stands for them.

    Raises: DataError for a colour of two train ids; without `refuse` it stands for None.
    """
    first, id_of = {}, {}
    for entry in space.classes:
        packed = int(_packed(np.array(entry.color, np.uint8)))
        other = first.setdefault(packed, entry)
        if other.train_id == entry.train_id:
            id_of.setdefault(packed, entry.id)
        elif refuse:
            raise DataError(
                f"{space.name}: {other.name!r} and {entry.name!r} have one colour, "
                f"{_shown(packed)}, so labels in colours cannot be read; "
                "give each class a colour of its own"
            )
        else:
            id_of[packed] = None
    return id_of


def _packed(colors) -> np.ndarray:
    """uint8 [..., 3] -> uint32 [...]."""
    red, green, blue = np.moveaxis(colors.astype(np.uint32), -1, 0)
    return red << 16 | green << 8 | blue


def _shown(packed) -> str:
    return f"({packed >> 16}, {packed >> 8 & 255}, {packed & 255})"
