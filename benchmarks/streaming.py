"""Does the memory of prototypes and of pseudo-labels depend on the number of images? SPCL's code
keeps every confidence, 18 GB for Cityscapes.

    python benchmarks/streaming.py [--images 100 1000 3000] [--quick]

The real refreshes, that of the `spcl` stage (prototypes of the whole source set) and of the
`pseudo_labels` stage (both rules), over images made on the way; labels are counted and dropped,
where a run writes files. "list": thresholds from a list of all confidences, as the authors' codes
take them, with the same network. Each figure is of a process of its own: its peak beyond what it
held before it compiled. No TensorFlow.
"""

import argparse
import functools
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.harness import Prepared, race

SIZE_HW, BATCH = (64, 128), 4
CASES = (
    "prototypes (spcl)",
    "thresholds and labels, rule quantile",
    "thresholds and labels, rule top",
    "thresholds, list",
)


class Frames:
    """What a refresh asks of dajax.tasks.classification.feed.SegFeed, over images that are noise
    around a pattern of blocks.
    """

    def __init__(self, count, devices):
        self.count, self.devices, self.labelled = count, devices, 0
        self.class_names = tuple(str(k) for k in range(19))

    def source_pass(self, batch_size):
        for first in range(0, self.count, batch_size):
            rng = np.random.default_rng(first)
            labels = (
                rng.integers(0, 19, (batch_size, SIZE_HW[0] // 8, SIZE_HW[1] // 8))
                .repeat(8, 1)
                .repeat(8, 2)
                .astype(np.int32)
            )
            # of the classes, the same in every image
            colours = np.random.default_rng(0).normal(0.0, 60.0, (19, 3))
            image = (colours[labels] + rng.normal(0.0, 20.0, (*labels.shape, 3))).astype(np.float32)
            index = np.arange(first, first + batch_size)
            size = np.full((batch_size, 2), SIZE_HW, np.int32)
            batch = {"image": image, "label": labels, "size_hw": size, "room_hw": size}
            yield batch | {"mask": index < self.count, "index": index}

    target_pass = source_pass

    def write_pseudo_labels(self, labels, origin):
        del origin
        for _, label in labels:
            self.labelled += int((label < 255).sum())


def prepare(case, count):
    """One case over so many images, as a contender of benchmarks/harness.py."""
    import jax

    from dajax.methods import METHODS
    from dajax.models.apply import predict_scores
    from dajax.models.build import build_segmenter
    from dajax.recipes import spcl as recipe

    config = recipe.get_config("scenes")
    stage = config.spcl if case == CASES[0] else config.warm_up_labels
    stage.rule = "top" if case == CASES[2] else "quantile"
    if case != CASES[0]:
        # their re-estimation takes the same 50 batches whatever the number of images
        stage.statistics = "running"
    model, data = (
        build_segmenter(config.model, stage, num_classes=19),
        Frames(count, jax.devices()[:1]),
    )
    method, devices = METHODS[stage.method], jax.devices()[:1]
    state = method.init(
        jax.random.key(0),
        np.zeros((1, *SIZE_HW, 3), np.float32),
        config=stage,
        model=model,
    )
    if case != CASES[3]:
        return Prepared(
            lambda: lambda: method.refresh(state, data=data, config=stage, model=model)[1],
            devices[0],
        )

    @jax.jit
    def predict(image):
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        logits = predict_scores(model, variables, image, norm_set=stage.target_bn)
        return jax.nn.softmax(jax.image.resize(logits, (*image.shape[:3], 19), "bilinear")).max(-1)

    def collect():
        confidences = np.concatenate(
            [np.asarray(predict(batch["image"])).ravel() for batch in data.target_pass(BATCH)]
        )
        return {"threshold": np.median(confidences)}

    return Prepared(lambda: collect, devices[0])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000, 3000])
    parser.add_argument(
        "--quick",
        action="store_true",
        help="4 and 8 images: does everything run? The figures mean nothing",
    )
    args = parser.parse_args()
    counts = [4, 8] if args.quick else args.images
    print(
        f"peak memory in MiB beyond the start, and ms an image; {SIZE_HW[0]}x{SIZE_HW[1]}, the"
        " small network of the scenes\n"
    )
    print(
        "| | "
        + " | ".join(f"{count:,} images" for count in counts)
        + " | ms an image |\n"
        + "|---" * (len(counts) + 2)
        + "|"
    )
    for case in CASES:
        results = [
            race({case: functools.partial(prepare, case)}, {"count": count}, repeats=1, calls=1)[
                case
            ]
            for count in counts
        ]
        cells = [f"{result.host_mib:.0f}" for result in results] + [
            f"{1e3 * results[-1].seconds[0] / counts[-1]:.1f}"
        ]
        print(f"| {case} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
