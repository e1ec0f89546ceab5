"""Writes small segmentation data sets in their official layouts; nothing here uses the code under
test.
"""

import struct
import zlib

import numpy as np
from PIL import Image
from pixel_files import chunk


def write_png16(path, pixels):
    """16-bit RGB PNG of uint16 [H, W, 3], byte by byte after the PNG specification, with a
    different filter on each third row.
    """
    height, width, _ = pixels.shape
    rows = pixels.astype(">u2").view(np.uint8).reshape(height, width * 6).astype(int)
    lines = b""
    for y in range(height):
        # none, sub (minus the pixel on the left), up (minus the row above)
        kind, line = y % 3, rows[y]
        left = np.concatenate([np.zeros(6, int), line[:-6]])
        filtered = line - (0, left, rows[y - 1])[kind]
        lines += bytes([kind]) + (filtered % 256).astype(np.uint8).tobytes()

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    _make(path).write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def write_image(path, hw=(4, 6)):
    Image.new("RGB", hw[::-1], (90, 120, 30)).save(_make(path))


def write_ids(path, ids):
    """8-bit grey PNG of [H, W] ids."""
    Image.fromarray(np.asarray(ids, np.uint8)).save(_make(path))


# Colours that have nothing to do with the indices.
_MEANINGLESS = np.array([(7 * i + 100) % 256 for i in range(768)]).reshape(-1, 3).tolist()


def write_palette(path, ids, colors=_MEANINGLESS):
    """Palette PNG of [H, W] indices and the RGB of each."""
    image = Image.fromarray(np.asarray(ids, np.uint8)).convert("P")
    image.putdata(np.asarray(ids, np.uint8).ravel().tolist())
    image.putpalette([value for color in colors for value in color])
    image.save(_make(path))


ROAD = "7,road,0,128,64,128"  # a row of a CSV of classes


def write_classes(root, *rows):
    """`root/classes.csv` of rows "id,name,train_id,r,g,b"; returns its path."""
    path = _make(root / "classes.csv")
    path.write_text("".join(f"{row}\n" for row in ("id,name,train_id,r,g,b", *rows)))
    return path


def own(root, **changes):
    """The config of a data set "own" whose classes are in `root/classes.csv`."""
    return dict(dataset="own", root=str(root), classes="classes.csv", **changes)


def write_gta5(root, labels):
    """labels: {frame: ids [H, W]}; each gets an image of its size."""
    for frame, ids in labels.items():
        write_image(root / f"images/{frame}.png", np.shape(ids))
        write_palette(root / f"labels/{frame}.png", ids)


def write_cityscapes(root, labels, split="train"):
    """labels: {"city/frame": ids [H, W], or None for an image alone}."""
    for frame, ids in labels.items():
        write_image(
            root / f"leftImg8bit/{split}/{frame}_leftImg8bit.png",
            (4, 6) if ids is None else np.shape(ids),
        )
        if ids is not None:
            write_ids(root / f"gtFine/{split}/{frame}_gtFine_labelIds.png", ids)


def truncate(path):
    """Cuts a file to two thirds."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def _make(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
