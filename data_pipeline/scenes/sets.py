"""The embedded street scenes: a game world as source, a street world as target, all 19 classes of
Cityscapes in both. No download.

They are drawn once and written to disk in the layouts of the real data sets, with the real label
ids, so that the real readers read them:

    GTA5's, with a palette in the labels:
    <root>/source/images/00001.png
    <root>/source/labels/00001.png

    Cityscapes', with the splits train and val:
    <root>/target/leftImg8bit/<split>/<city>/<city>_000000_000000_leftImg8bit.png
    <root>/target/gtFine/<split>/<city>/<city>_000000_000000_gtFine_labelIds.png

Picture i of a split depends on (VERSION, seed, world, split, i) and the size only; its pixels are
the same on every machine. `worlds` says how the worlds differ, and by how much; `layout` and the
modules that it imports draw.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Callable

import numpy as np
from PIL import Image

from data_pipeline.errors import DataError
from data_pipeline.sampling import make_key
from data_pipeline.scenes import worlds as scene_worlds
from data_pipeline.scenes.canvas import Dice
from data_pipeline.scenes.layout import draw_scene
from data_pipeline.segmentation.labels import GTA5

VERSION = 1  # raised by every change that changes a pixel
COUNTS = {"source": 400, "target_train": 400, "target_val": 100}
# small enough to train on one core in minutes; any other size shows the same scenes
SIZE_HW = (64, 128)
MARKER = "scenes.json"
CITIES = {"train": "northtown", "val": "southtown"}  # Cityscapes' splits share no city either

_MIN_SIDE = 32  # pixels; below that people are dots


def draw(
    world: str, split: str, index: int, *, size_hw: tuple[int, int], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """One scene: RGB uint8 [h, w, 3] and Cityscapes label ids uint8 [h, w]."""
    dice = Dice(make_key(seed, "scenes", str(VERSION), world, split), index)
    return draw_scene(scene_worlds.make_world(world), dice, size_hw)


def write(
    folder: str | os.PathLike,
    *,
    world: str,
    split: str,
    count: int,
    size_hw: tuple[int, int],
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Writes the scenes 0..count-1 of a split below a folder, over what is there.

    Args:
      folder: made if need be.
      world: "source" writes GTA5's layout, which has no splits; "target" writes Cityscapes'.
      split: "train" or "val".
      progress: called with the number of scenes written, after each.
    Raises: DataError for a wrong world, split, count or size.
    """
    if (
        world not in scene_worlds.WORLDS
        or split not in CITIES
        or count < 1
        or min(size_hw) < _MIN_SIDE
    ):
        raise DataError(
            f"scenes: world {world!r}, split {split!r}, {count} pictures of"
            f" {size_hw[0]}x{size_hw[1]}; expected source or target, train or val, at least 1"
            f" picture and {_MIN_SIDE} pixels on each side"
        )
    for i in range(count):
        image, ids = draw(world, split, i, size_hw=size_hw, seed=seed)
        image_path, label_path = (
            pathlib.Path(folder) / name for name in file_names(world, split, i)
        )
        for path in (image_path, label_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        label = Image.fromarray(ids)
        if world == "source":
            label.putpalette(_palette())
        Image.fromarray(image).save(image_path)
        label.save(label_path)
        progress(i + 1)


def file_names(world: str, split: str, index: int) -> tuple[str, str]:
    """Image and label of one scene, below the folder of its world."""
    if world == "source":
        return f"images/{index + 1:05d}.png", f"labels/{index + 1:05d}.png"
    frame = f"{split}/{CITIES[split]}/{CITIES[split]}_{index:06d}_000000"
    return f"leftImg8bit/{frame}_leftImg8bit.png", f"gtFine/{frame}_gtFine_labelIds.png"


def ensure(
    root: str | os.PathLike,
    *,
    size_hw: tuple[int, int] = SIZE_HW,
    counts: dict[str, int] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[str, str]:
    """Makes the scenes unless they are there, which takes about 20 s of one core at the default
    size.

    They are written under a temporary name and renamed when complete: a folder is finished or
    absent, never half done. A process that asks while another writes waits for it; what a killed
    one left is written anew.

    Args:
      root: a folder for the scenes alone; absent, empty, or made by this function with the same
        settings.
      counts: pictures by "source", "target_train" and "target_val"; None: COUNTS.
      progress: called with the scenes drawn so far and their number, if any must be drawn.
    Returns: the roots of the source (GTA5's layout) and of the target (Cityscapes' layout).
    Raises: DataError when root holds something else or scenes of other settings, or cannot be
      written.
    """
    root = pathlib.Path(os.path.abspath(os.path.expanduser(root)))
    counts = COUNTS if counts is None else counts
    if len(size_hw) != 2:
        raise DataError(f"scenes: size {tuple(size_hw)}; expected height and width")
    if set(counts) != set(COUNTS):
        raise DataError(
            f"scenes: counts of {', '.join(sorted(counts)) or 'nothing'}; expected"
            f" {', '.join(COUNTS)}"
        )
    settings = {
        "version": VERSION,
        "seed": int(seed),
        "size_hw": [int(n) for n in size_hw],
        "counts": {name: int(counts[name]) for name in COUNTS},
        "gaps": [scene_worlds.LAYOUT_GAP, scene_worlds.PAINT_GAP, scene_worlds.SENSOR_GAP],
    }
    if not _is_finished(root, settings):
        try:
            with _alone(root):
                if not _is_finished(root, settings):
                    _make(root, settings, progress)
        except OSError as error:
            raise DataError(
                f"{root}: cannot write the scenes there: {error}; choose a folder that you may"
                " write"
            ) from error
    return str(root / "source"), str(root / "target")


def _is_finished(root, settings) -> bool:
    """Whether the scenes of these settings are there. Raises DataError when root holds anything
    else.
    """
    try:
        found = json.loads((root / MARKER).read_text())
    except (FileNotFoundError, NotADirectoryError):
        if root.is_dir() and any(root.iterdir()):
            raise DataError(
                f"{root}: holds files, but no {MARKER}, so it is not a folder of scenes; choose an"
                " empty or a new folder"
            ) from None
        return False
    except (OSError, ValueError) as error:
        raise DataError(
            f"{root / MARKER}: cannot be read: {error}; remove the folder {root}, and the scenes"
            " are drawn anew"
        ) from error
    if found != settings:
        known = found if isinstance(found, dict) else {}
        differing = ", ".join(
            f"{key} {known.get(key)} instead of {value}"
            for key, value in settings.items()
            if known.get(key) != value
        )
        raise DataError(
            f"{root}: scenes of other settings ({differing or 'unknown keys'}); choose another"
            " folder, or remove this one"
        )
    for world, split, count in _splits(settings["counts"]):
        for name in (name for index in range(count) for name in file_names(world, split, index)):
            if not (root / world / name).exists():
                raise DataError(
                    f"{root / world / name}: this scene is gone; remove the folder {root}, and the"
                    " scenes are drawn anew"
                )
    return True


def _splits(counts) -> list[tuple[str, str, int]]:
    """(world, split, count) of every entry of counts."""
    named = [(*name.partition("_")[::2], count) for name, count in counts.items()]
    return [(world, split or "train", count) for world, split, count in named]


@contextlib.contextmanager
def _alone(root):
    """Holds a lock beside root. The system releases it when the process ends, however it ends."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with open(root.parent / f".{root.name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(root, settings, progress):
    unfinished = root.parent / f".{root.name}.unfinished"
    if unfinished.exists():  # left by a process that was killed: we hold the lock
        shutil.rmtree(unfinished)
    before, total = 0, sum(settings["counts"].values())
    progress(before, total)
    for world, split, count in _splits(settings["counts"]):
        write(
            unfinished / world,
            world=world,
            split=split,
            count=count,
            size_hw=tuple(settings["size_hw"]),
            seed=settings["seed"],
            progress=lambda done, before=before: progress(before + done, total),
        )
        before += count
    (unfinished / MARKER).write_text(json.dumps(settings, indent=1) + "\n")
    os.rename(unfinished, root)  # over an empty folder too


def _palette() -> list[int]:
    """256 RGB triples in a row: the colours of the ids in GTA5's label files."""
    colors = np.zeros((256, 3), int)
    for entry in GTA5.classes:
        colors[entry.id] = entry.color
    return colors.ravel().tolist()
