"""README's pictures, from two finished runs: docs/pictures/digits.png and scenes.png.

  python run.py --config=configs/can.py
  python run.py --config=configs/spcl.py
  python docs/scripts/readme_pictures.py --digits=runs/can-digits-seed0
  python docs/scripts/readme_pictures.py --scenes=runs/spcl-scenes-seed0

Nothing is picked by its looks: the images are the first ones of each set. Both runs use the
embedded data, so nothing is downloaded.
"""

import argparse
import pathlib
import sys

import matplotlib
import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import dajax
from dajax.errors import UserError
from dajax.ops.pictures import colored
from data_pipeline.digits import sets as digits
from data_pipeline.scenes import sets as scenes
from data_pipeline.segmentation.labels import CITYSCAPES, map_ids

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FOLDER = ROOT / "docs" / "pictures"
DPI = 110
RIGHT, WRONG = "#2b6cb0", "#c53030"
NUM_DIGITS = 14
NUM_SCENES = 3


def digits_picture(workdir, path):
    """Rows of source and target images; below each target image what the network says before and
    after adaptation, in red where it is wrong.

    Args:
      workdir: of configs/can.py, with the stages source_only and can.
      path: of the PNG.
    """
    source, target = digits.source(), digits.target()
    # of each class the next, then the second of each
    per_class = len(source.images) // 10
    order = [i % 10 * per_class + i // 10 for i in range(NUM_DIGITS)]
    shown, labels = target.images[:NUM_DIGITS], target.labels[:NUM_DIGITS]
    stages = {"source only": "source_only", "CAN": "can"}
    loaded = {title: dajax.load(workdir, stage) for title, stage in stages.items()}
    figure, axes = plt.subplots(2, NUM_DIGITS, figsize=(NUM_DIGITS * 0.62 + 1.5, 2.15))
    figure.subplots_adjust(left=0.145, right=0.995, top=0.99, bottom=0.27, wspace=0.08, hspace=0.12)
    for axis, image in zip(axes.flat, [*source.images[order], *shown], strict=True):
        axis.imshow(image[..., 0], cmap="gray", vmin=0, vmax=255)
        axis.set_axis_off()
    _beside(axes[0, 0], "source", "rendered type, labelled")
    _beside(axes[1, 0], "target", "handwriting, no labels")
    for row, (title, trained) in enumerate(loaded.items()):
        height = 0.16 - 0.12 * row
        accuracy = trained.results["accuracy"]
        figure.text(
            0.137, height, f"{title}: {accuracy:.1f} %", fontsize=9, ha="right", va="center"
        )
        for axis, said, true in zip(axes[1], trained.predict(shown), labels, strict=True):
            box = axis.get_position()
            color = RIGHT if said == true else WRONG
            figure.text(
                (box.x0 + box.x1) / 2, height, str(said), fontsize=12, color=color,
                weight="bold", ha="center", va="center",
            )  # fmt: skip
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _beside(axis, title, remark):
    axis.text(-0.15, 0.66, title, transform=axis.transAxes, fontsize=10, weight="bold", ha="right")
    axis.text(-0.15, 0.26, remark, transform=axis.transAxes, fontsize=7.5, ha="right")


def scenes_picture(workdir, path, stages):
    """Above, labelled images of the source world. Below, target images with their labels and the
    predictions of two stages.

    Args:
      workdir: of a segmentation recipe on the scenes.
      path: of the PNG.
      stages: {title: stage} of before and after.
    """
    loaded = {title: dajax.load(workdir, stage) for title, stage in stages.items()}
    some = next(iter(loaded.values())).config.data.scenes
    settings = dict(size_hw=tuple(some.size), seed=some.seed)
    palette = CITYSCAPES.palette

    def drawn(world, split, index):
        image, ids = scenes.draw(world, split, index, **settings)
        return image, map_ids(ids, CITYSCAPES, "drawn")

    source = [drawn("source", "train", i) for i in range(NUM_SCENES)]
    target = [drawn("target", "val", i) for i in range(NUM_SCENES)]
    images = [image for image, _ in target]
    rows = [
        ("source", "a game's boulevard", [image for image, _ in source]),
        ("", "its labels", [colored(label, palette) for _, label in source]),
        ("target", "a street, no labels", images),
        *(
            (title, _figures(trained), [colored(x, palette) for x in trained.predict(images)])
            for title, trained in loaded.items()
        ),
        ("truth", "for evaluation only", [colored(label, palette) for _, label in target]),
    ]
    figure, axes = plt.subplots(len(rows), NUM_SCENES, figsize=(9.6, len(rows) * 1.27))
    figure.subplots_adjust(
        left=0.155, right=0.998, top=0.998, bottom=0.002, wspace=0.02, hspace=0.03
    )
    for (title, remark, pictures), line in zip(rows, axes, strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            large = Image.fromarray(picture).resize((384, 192), Image.Resampling.NEAREST)
            axis.imshow(np.asarray(large))
            axis.set_axis_off()
        line[0].text(
            -0.04, 0.58, title, transform=line[0].transAxes, fontsize=10, weight="bold", ha="right"
        )
        line[0].text(
            -0.04, 0.5, remark, transform=line[0].transAxes, fontsize=8, ha="right", va="top"
        )
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    _reduce(path)


def _figures(trained):
    return f"{trained.results['miou']:.1f} % mIoU"


def _reduce(path):
    """A palette of 256 colours: a third of the bytes, and no difference to see."""
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--digits", type=pathlib.Path, help="workdir of configs/can.py")
    parser.add_argument("--scenes", type=pathlib.Path, help="workdir of configs/spcl.py")
    parser.add_argument("--folder", type=pathlib.Path, default=FOLDER, help="of the pictures")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    try:
        if args.digits:
            digits_picture(args.digits, args.folder / "digits.png")
        if args.scenes:
            stages = {"source only": "source_only", "adapted": "self_training"}
            scenes_picture(args.scenes, args.folder / "scenes.png", stages)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
