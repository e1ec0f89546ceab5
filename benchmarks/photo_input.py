"""The classification input pipeline on JPEG photos: against decoding the same files and nothing
else, and against a torch loader.

Photos are drawn first. "PIL": one thread a core, files to arrays; with `draft`, which decodes no
larger than is needed. "dajax": the pipeline of training (resize to a square, random crop, half of
the images mirrored, normalised) in shuffled batches, decoded each time; "dajax, kept": photos that
stay in memory after the first pass (config.runtime.keep_images_mib), which is not measured. "PIL +
torch": the same work, in one DataLoader process a core, whose memory is not counted. "PIL + grain":
the same work in grain's threads. All resize with PIL's cubic filter, which CAN's code does; the
linear one takes two thirds of its time.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.cases import Case
from benchmarks.frame_input import grain_reader, same_count, speed
from benchmarks.machine import cores
from benchmarks.race import Prepared

TITLE = "photos: the input pipeline against bare decoding and a PIL + torch loader"
MINUTES = 1.5
NEEDS = ("tensorflow",)

BATCH = 16
CROP, RESIZE = 224, 256  # CAN's and tllib's
# {title: (width, height, photos on disk, images of a call)}: ImageNet's usual size, a phone's
SIZES = {"640x480": (640, 480, 32, 1280), "4000x3000": (4000, 3000, 8, 16)}
QUICK_SIZES = {"64x48": (64, 48, 4, 16)}


def cases(folder, is_quick):
    """See groups.py."""
    contenders = {
        "PIL": decode,
        "PIL, draft": decode_small,
        "dajax": dajax_pipeline,
        "dajax, kept": dajax_kept,
        "PIL + torch": torch_loader,
        "PIL + grain": grain_loader,
    }
    found = []
    for title, (width, height, count, images) in (QUICK_SIZES if is_quick else SIZES).items():
        root = folder / title
        write_photos(root / "photos" / "things", (height, width), count)
        settings = dict(root=str(root), images=images)
        found.append(
            Case(f"{title}, {images} images", contenders, settings, agree=same_count, remark=speed)
        )
    return found


def write_photos(folder, size_hw, count):
    """JPEGs of quality 90: large shapes, edges and some grain, as a photo has them."""
    from PIL import Image

    folder.mkdir(parents=True)
    size, rng = size_hw[::-1], np.random.default_rng(0)
    for i in range(count):
        layers = []
        for side, how, strength in ((6, "BICUBIC", 90), (40, "NEAREST", 25), (200, "BILINEAR", 8)):
            small = rng.integers(0, 256, (side, side, 3), np.uint8)
            large = Image.fromarray(small).resize(size, Image.Resampling[how])
            layers.append(strength / 128 * (np.asarray(large, np.float32) - 128))
        array = np.clip(128 + sum(layers), 0, 255).astype(np.uint8)
        Image.fromarray(array).save(folder / f"{i:03}.jpg", quality=90)


def photos(root):
    """The ImageSet of the drawn photos."""
    from data_pipeline.classification.folder import read_folder

    return read_folder(root, "photos")


def paths(root, images):
    """Files of a call: all, again and again."""
    import pathlib

    files = sorted(pathlib.Path(root).rglob("*.jpg"))
    return [files[i % len(files)] for i in range(images)]


def decode(root, images, is_small=False):
    from PIL import Image

    pool, files = ThreadPoolExecutor(cores()), paths(root, images)

    def one(path):
        with Image.open(path) as file:
            if is_small:
                file.draft("RGB", (RESIZE, RESIZE))
            return int(np.asarray(file)[0, 0].sum())

    return Prepared(lambda: lambda: {"read": sum(1 for _ in pool.map(one, files))})


def decode_small(root, images):
    return decode(root, images, is_small=True)


def dajax_pipeline(root, images, is_kept=False):
    from data_pipeline.classification.kept_images import keep_small_sets
    from data_pipeline.classification.pipeline import Part, batches
    from data_pipeline.classification.transforms import Transform
    from data_pipeline.sampling import make_key, random_rows

    transform = Transform(
        (CROP, CROP), (0.5,), (0.5,), resize_hw=(RESIZE, RESIZE), crop="random", flip=True
    )
    chosen = photos(root)
    if is_kept:
        (chosen,) = keep_small_sets([chosen], [transform.resize_hw], max_mib=float("inf"))
    size = min(BATCH, len(chosen))
    part = Part(
        chosen,
        lambda step: random_rows(step, size, len(chosen), make_key(0, "order")),
        transform,
        make_key(0, "views"),
        with_labels=False,
    )

    def run():
        with batches({"photos": part}, 0, images // size) as stream:
            return {"read": sum(len(batch["photos"]["mask"]) for batch in stream)}

    return Prepared(lambda: run)


def dajax_kept(root, images):
    return dajax_pipeline(root, images, is_kept=True)


def torch_loader(root, images):
    import torch
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    loader = DataLoader(
        PhotoFiles(paths(root, images)),
        batch_size=BATCH,
        num_workers=cores(),
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    return Prepared(lambda: lambda: {"read": sum(len(batch) for batch in loader)})


def grain_loader(root, images):
    return grain_reader(PhotoFiles(paths(root, images)), BATCH)


class PhotoFiles:
    """A map-style data set for torch's and grain's loaders, after the pattern of the released
    ones.
    """

    def __init__(self, files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def __getitem__(self, position):
        from PIL import Image

        rng = np.random.default_rng(position)
        with Image.open(self.files[position]) as file:
            photo = file.convert("RGB").resize((RESIZE, RESIZE), Image.Resampling.BICUBIC)
        x, y = rng.integers(0, RESIZE - CROP + 1, 2)
        image = np.asarray(photo.crop((x, y, x + CROP, y + CROP)), np.float32)
        image = image[:, ::-1] if rng.random() < 0.5 else image
        return np.ascontiguousarray(((image / 255 - 0.5) / 0.5).transpose(2, 0, 1))
