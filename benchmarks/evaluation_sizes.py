"""CPU seconds of an evaluation whose labels have many sizes, and of one whose labels have one.

  python benchmarks/evaluation_sizes.py [--sizes 24] [--images 48] [--size 64x128] [--quick]

Frames of random pixels are written for the purpose, as variant own reads them. The network is the
small one of the recipes (configs/base/segmentation.py), with random weights; each row is measured
in a process of its own. "first" holds the compilations, "again" has none. CPU seconds are of all
threads and hardly depend on what else the machine does.
"""

import argparse
import concurrent.futures as alone
import multiprocessing
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from PIL import Image

from dajax.models.apply import init_network
from dajax.recipes import clan
from dajax.tasks.feed import NEVER
from dajax.tasks.segmentation import setup
from dajax.tasks.segmentation.evaluate import Protocol, evaluate_segmenter

CLASSES = "id,name,train_id,r,g,b\n" + "".join(f"{k},c{k},{k},{k},{k},{k}\n" for k in range(19))
SMALLEST, STEP = (90, 150), (7, 11)  # height and width of the first size, and what the next adds


def write_frames(folder, count, num_sizes):
    """`count` images and labels in `num_sizes` sizes, in turn."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.csv").write_text(CLASSES)
    for i in range(count):
        hw = tuple(a + (i % num_sizes) * b for a, b in zip(SMALLEST, STEP, strict=True))
        image = Image.fromarray(rng.integers(0, 256, (*hw, 3), np.uint8))
        image.save(folder / "images" / f"{i:04d}.png", compress_level=1)
        label = Image.fromarray(rng.integers(0, 19, hw, np.uint8))
        label.save(folder / "labels" / f"{i:04d}.png", compress_level=1)


def opened(folder, size):
    """(feed, model, variables) of a run on a folder of frames."""
    arg = f"own,source={folder},target={folder},evaluation={folder},classes=classes.csv,size={size}"
    config = clan.get_config(arg)
    name, domains = config.stages[0], setup.open_data(config)
    model = setup.build_model(config, config[name], domains)
    images = np.zeros((1, *domains.image_shape), np.float32)
    params, batch_stats = init_network(jax.random.key(0), images, model=model)
    feed = setup.make_feed(
        domains,
        config,
        name,
        directory=folder / name,
        devices=jax.local_devices()[:1],
        stop=NEVER,
    )
    return feed, model, {"params": params, "batch_stats": batch_stats}


def measure(folder, size, batch_size):
    """[(wall, CPU) seconds of the first evaluation, of the second], and the confusion matrix."""
    feed, model, variables = opened(folder, size)
    taken = []
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        report, _ = evaluate_segmenter(
            variables,
            data=feed,
            model=model,
            protocol=Protocol(0, align_corners=True),
            batch_size=batch_size,
            subsets={},
        )
        taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    return taken, np.array(report["confusion"])


def main(argv=None):
    """Prints a table of both kinds of folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, default=24, help="of the labels")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--size", default="64x128", help="height x width that the network sees")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="small: does everything run?")
    args = parser.parse_args(argv)
    if args.quick:
        args.sizes, args.images, args.size = 3, 4, "32x64"
    print("| labels | first: s | CPU s | again: s | CPU s |\n|---|---|---|---|---|")
    for num_sizes in (1, args.sizes):
        with tempfile.TemporaryDirectory() as folder:
            write_frames(pathlib.Path(folder) / "frames", args.images, num_sizes)
            work = pathlib.Path(folder) / "frames", args.size, args.batch
            with alone.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                taken, counts = process.submit(measure, *work).result()
        figures = " | ".join(f"{value:.2f}" for pair in taken for value in pair)
        print(f"| of {num_sizes} sizes, {counts.sum():,} pixels | {figures} |", flush=True)


if __name__ == "__main__":
    main()
