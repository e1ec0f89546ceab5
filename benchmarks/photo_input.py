"""How fast shuffled batches of a folder's photos come, decoded each time and kept in memory.

  python benchmarks/photo_input.py --root=DIR --domain=amazon --size=64 --batches=100

Wall seconds depend on what else the machine does; CPU seconds of the process hardly do.
"""

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from data_pipeline.classification.folder import read_folder
from data_pipeline.classification.kept_images import keep_small_sets
from data_pipeline.classification.pipeline import Part, batches
from data_pipeline.classification.transforms import Transform
from data_pipeline.sampling import make_key, random_rows

BATCH = 64


def seconds(images, transform, first, num_batches):
    """(wall, CPU) seconds of the batches that follow `first`."""
    part = Part(
        images,
        lambda step: random_rows(step, BATCH, len(images), make_key(0, "order")),
        transform,
        make_key(0, "views"),
        with_labels=False,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    with batches({"photos": part}, first, first + num_batches) as stream:
        for _ in stream:
            pass
    return time.perf_counter() - wall, time.process_time() - cpu


def main(argv=None):
    """Prints a line each for decoding every time, for the pass that fills, and for what follows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="the folder that holds the domain")
    parser.add_argument("--domain", required=True)
    parser.add_argument("--size", type=int, default=64, help="pixels a side of the crop")
    parser.add_argument("--batches", type=int, default=100, help=f"of {BATCH} images")
    args = parser.parse_args(argv)
    images, side = read_folder(args.root, args.domain), args.size * 8 // 7
    transform = Transform(
        (args.size, args.size), (0.5,), (0.5,), resize_hw=(side, side), crop="random", flip=True
    )
    (kept,) = keep_small_sets([images], [transform.resize_hw], max_mib=float("inf"))
    seconds(images, transform, 0, 2)  # what TensorFlow does once
    for what, which in (("decoded", images), ("filling", kept), ("kept", kept)):
        wall, cpu = seconds(which, transform, 0, args.batches)
        count = BATCH * args.batches
        print(f"{what:<8} {count / wall:8,.0f} images/s, {1e3 * cpu / count:.3f} CPU ms an image")


if __name__ == "__main__":
    main()
