"""Images a second of the segmentation input pipeline: against decoding the same PNG files and
nothing else, and against a torch loader.

    python benchmarks/seg_input.py [--root DIR --split train] [--images 32] [--repeats 3]
        [--size 512x1024] [--quick]

Every image comes with its label. Without --root, 2048x1024 frames of the embedded scenes are drawn
first; DIR is a Cityscapes folder. All contenders may use all cores, each in processes of its own,
repeats interleaved. "decode": PIL, one thread a core, files to arrays; "memory kept": with the
allocator's settings of the pipeline (data_pipeline.stream.py). "dajax": the pipeline of training
(ids checked and mapped, PIL's antialiased bicubic resize, half of the images mirrored, BGR minus
the mean). "torch": the same work the way the released loaders do it, PIL in one DataLoader process
a core.
Without torch its line is left out: `pip install torch`.
"""

import argparse
import importlib.util
import os
import pathlib
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.harness import Prepared, median_ratio, race

DRAWN = 8  # frames; a run goes over them again and again
FRAME_HW = (1024, 2048)  # Cityscapes'
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


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
    pool = ThreadPoolExecutor(CORES)

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

    chosen = frames(root, split)
    dataset = TorchFrames(
        chosen.image_paths,
        chosen.label_paths,
        chosen.space.lut,
        rows(images, len(chosen)),
        size_hw,
        transform(size_hw).mean,
    )
    torch.set_num_threads(1)
    loader = DataLoader(
        dataset,
        batch_size=1,
        num_workers=CORES,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    return Prepared(lambda: lambda: {"read": sum(len(image) for image, _ in loader)})


class TorchFrames:
    """A map-style data set for torch's DataLoader, after the pattern of the released loaders (PIL
    and numpy).
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


def main():
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", help="a Cityscapes folder; default: frames of the scenes, drawn for the purpose"
    )
    parser.add_argument("--split", default="train")
    parser.add_argument("--images", type=int, default=32, help="in one measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", default="512x1024", help="height x width that training sees")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small frames: does everything run? The figures mean nothing",
    )
    args = parser.parse_args()
    size_hw, frame_hw = tuple(int(side) for side in args.size.split("x")), FRAME_HW
    if args.quick:
        size_hw, frame_hw, args.images = (32, 64), (64, 128), 4
    contenders = {
        "dajax": dajax_pipeline,
        "decode": decode,
        "decode, memory kept": decode_with_memory_kept,
    }
    if importlib.util.find_spec("torch"):
        contenders["torch"] = torch_loader
    with tempfile.TemporaryDirectory() as folder:
        if args.root is None:
            from data_pipeline.scenes import sets as scenes

            scenes.write(
                folder, world="target", split=args.split, count=DRAWN, size_hw=frame_hw, seed=0
            )
        settings = dict(
            root=args.root or folder, split=args.split, images=args.images, size_hw=size_hw
        )
        results = race(contenders, settings, repeats=args.repeats, calls=1)
    print(
        f"{args.images} images a measurement, {args.root or 'drawn frames'} at"
        f" {size_hw[0]}x{size_hw[1]}; {CORES} CPU cores; median of {args.repeats} interleaved"
        " repeats\n"
    )
    print("| contender | images/s | dajax / this | MiB |\n|---|---|---|---|")
    for name, result in results.items():
        if int(result.answer["read"]) != args.images:
            raise SystemExit(f"{name} gave {result.answer['read']} of {args.images} images")
        speed = args.images / statistics.median(result.seconds)
        print(
            f"| {name} | {speed:.1f} | {1 / median_ratio(results['dajax'], result):.2f} |"
            f" {result.host_mib:.0f} |"
        )


if __name__ == "__main__":
    main()
