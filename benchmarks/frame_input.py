"""The segmentation input pipeline: against decoding the same PNG files and nothing else, and
against a torch loader.

Every image comes with its label. Frames of 2048x1024 of the embedded scenes are drawn first. All
contenders may use all cores. "PIL": one thread a core, files to arrays; "memory kept": with the
allocator's settings of the pipeline (data_pipeline/stream.py). "dajax": the pipeline of training
(ids checked and mapped, PIL's antialiased bicubic resize, half of the images mirrored, BGR minus
the mean). "PIL + torch": the same work the way the released loaders do it, in one DataLoader
process a core, whose memory is not counted. "PIL + grain": the same work in grain's threads.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.cases import Case
from benchmarks.machine import cores
from benchmarks.race import Prepared

TITLE = "frames: the input pipeline against bare decoding and a PIL + torch loader"
MINUTES = 1
NEEDS = ("tensorflow",)

DRAWN = 8  # frames; a run goes over them again and again
FRAME_HW, QUICK_FRAME_HW = (1024, 2048), (64, 128)  # Cityscapes'
SIZE_HW, QUICK_SIZE_HW = (512, 1024), (32, 64)  # AdaptSegNet's target
IMAGES, QUICK_IMAGES = 32, 4


def cases(folder, is_quick):
    """See groups.py."""
    from data_pipeline.scenes import sets as scenes

    frame_hw, size_hw = (QUICK_FRAME_HW, QUICK_SIZE_HW) if is_quick else (FRAME_HW, SIZE_HW)
    images = QUICK_IMAGES if is_quick else IMAGES
    scenes.write(str(folder), world="target", split="train", count=DRAWN, size_hw=frame_hw, seed=0)
    contenders = {
        "PIL": decode,
        "PIL, memory kept": decode_with_memory_kept,
        "dajax": dajax_pipeline,
        "PIL + torch": torch_loader,
        "PIL + grain": grain_loader,
    }
    settings = dict(root=str(folder), split="train", images=images, size_hw=size_hw)
    title = f"{frame_hw[1]}x{frame_hw[0]} to {size_hw[1]}x{size_hw[0]}, {images} images"
    return [Case(title, contenders, settings, agree=same_count, remark=speed)]


def same_count(ours, theirs):
    """Whether both read as many images."""
    return "", int(ours["read"]) == int(theirs["read"])


def speed(name, result):
    """Images a second and processor time of one, for the remark."""
    del name
    count, seconds = int(result.answer["read"]), float(np.median(result.seconds))
    cpu = 1e3 * float(np.median(result.cpu_seconds)) / count
    return f"{count / seconds:,.1f} images/s, {cpu:.3g} CPU ms an image"


def frames(root, split):
    """The SegmentationSet of a Cityscapes folder."""
    from data_pipeline.segmentation.readers import read_domain

    return read_domain(
        {"dataset": "cityscapes", "root": root, "split": split, "space": "cityscapes"}
    )


def transform(size_hw):
    """AdaptSegNet's: the whole frame resized, mirrored at random, BGR minus the mean."""
    from dajax.recipes.base import segmentation as seg_base
    from data_pipeline.segmentation.transforms import from_config

    return from_config(seg_base.whole_frames(size_hw, flip=True))


def decode_with_memory_kept(root, split, images, size_hw):
    from data_pipeline.stream import keep_freed_memory

    keep_freed_memory()
    return decode(root, split, images, size_hw)


def decode(root, split, images, size_hw):
    from PIL import Image

    chosen = frames(root, split)
    pool = ThreadPoolExecutor(cores())

    def one(index):
        arrays = []
        for path in (chosen.image_paths[index], chosen.label_paths[index]):
            with Image.open(path) as file:
                arrays.append(np.asarray(file))
        return sum(int(array[0, 0].sum()) for array in arrays)

    return Prepared(
        lambda: lambda: {"read": sum(1 for _ in pool.map(one, rows(images, len(chosen))))}
    )


def rows(images, count):
    """Which frame each of a run's images is."""
    return [i % count for i in range(images)]


def dajax_pipeline(root, split, images, size_hw):
    from data_pipeline.sampling import make_key
    from data_pipeline.segmentation.pipeline import SegPart, batches

    chosen = frames(root, split)
    part = SegPart(
        chosen,
        lambda step: np.array([step % len(chosen)]),
        transform(size_hw),
        make_key(0, "benchmark"),
        with_labels=True,
    )

    def run():
        done = sum(len(batch["images"]["mask"]) for batch in batches({"images": part}, 0, images))
        return {"read": done}

    return Prepared(lambda: run)


def torch_loader(root, split, images, size_hw):
    import torch
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    loader = DataLoader(
        frame_files(root, split, images, size_hw),
        batch_size=1,
        num_workers=cores(),
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    return Prepared(lambda: lambda: {"read": sum(len(image) for image, _ in loader)})


def grain_loader(root, split, images, size_hw):
    return grain_reader(frame_files(root, split, images, size_hw), 1)


def grain_reader(files, batch_size):
    """A contender that reads a map-style data set by grain, in one thread a core."""
    import grain.python as grain

    options = grain.ReadOptions(num_threads=cores(), prefetch_buffer_size=4 * cores())

    def run():
        source = grain.MapDataset.source(files).to_iter_dataset(options).batch(batch_size)
        return {"read": sum(len(first_array(batch)) for batch in source)}

    return Prepared(lambda: run)


def first_array(batch):
    """The array of images, of a batch that is one or begins with one."""
    return batch[0] if isinstance(batch, tuple) else batch


def frame_files(root, split, images, size_hw):
    """The FrameFiles of a run."""
    chosen = frames(root, split)
    return FrameFiles(
        chosen.image_paths,
        chosen.label_paths,
        chosen.space.lut,
        rows(images, len(chosen)),
        size_hw,
        transform(size_hw).mean,
    )


class FrameFiles:
    """A map-style data set for torch's and grain's loaders, after the pattern of the released ones
    (PIL and numpy).
    """

    def __init__(self, image_paths, label_paths, lut, order, size_hw, mean):
        self.image_paths, self.label_paths, self.lut, self.order = (
            image_paths,
            label_paths,
            lut,
            order,
        )
        self.size, self.mean = size_hw[::-1], np.array(mean, np.float32)

    def __len__(self):
        return len(self.order)

    def __getitem__(self, position):
        from PIL import Image

        index = self.order[position]
        with Image.open(self.image_paths[index]) as file:
            image = np.asarray(
                file.convert("RGB").resize(self.size, Image.Resampling.BICUBIC), np.float32
            )
        with Image.open(self.label_paths[index]) as file:
            ids = np.asarray(file.resize(self.size, Image.Resampling.NEAREST))
        image, label = image[:, :, ::-1] - self.mean, self.lut[ids].astype(np.int64)
        if position % 2:
            image, label = image[:, ::-1], label[:, ::-1]
        return np.ascontiguousarray(image.transpose(2, 0, 1)), np.ascontiguousarray(label)
