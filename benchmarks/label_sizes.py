"""Evaluation of a set whose labels have many sizes, through the task's own functions: 48 frames
whose labels have one size, 24 sizes, 40 sizes. "first": with whatever it compiles; "later": again.
"""

import functools
import pathlib

import numpy as np

from benchmarks.cases import Case
from benchmarks.race import Prepared

TITLE = "evaluation of a set with many label sizes"
MINUTES = 1.5
NEEDS = ("tensorflow", "ml_collections")

FRAMES, QUICK_FRAMES = 48, 4
SIZES, QUICK_SIZES = (1, 24, 40), (1, 2)
INPUT_HW = (64, 128)  # of the scenes' small network


def cases(folder, is_quick):
    """See groups.py."""
    frames, sizes = (QUICK_FRAMES, QUICK_SIZES) if is_quick else (FRAMES, SIZES)
    contenders = {}
    for count in sizes:
        root = folder / f"sizes{count}"
        write_frames(root, frames, count)
        name = f"{count} size{'s' if count > 1 else ''}"
        contenders[name] = functools.partial(evaluation, str(root))
    return [
        Case("first", contenders, repeats=1, warm_up=False, remark=miou),
        Case("later", contenders, remark=miou),
    ]


def miou(name, result):
    """For the remark; random weights, random labels."""
    del name
    return f"mIoU {float(result.answer['miou']):.2f}"


def write_frames(root, frames, sizes):
    """An own folder: images/*.png, labels/*.png of so many sizes, classes.csv."""
    from PIL import Image

    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    lines = ["id,name,train_id,r,g,b"] + [f"{k},class{k},{k},{20 * k},0,0" for k in range(8)]
    (root / "classes.csv").write_text("\n".join(lines) + "\n")
    rng = np.random.default_rng(0)
    for i in range(frames):
        height, width = 64 + 2 * (i % sizes), 128 + 4 * (i % sizes)
        image = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        labels = rng.integers(0, 8, (height // 8, width // 8), np.uint8)
        for kind, array in (("images", image), ("labels", labels)):
            large = Image.fromarray(array).resize((width, height), Image.Resampling.NEAREST)
            large.save(root / kind / f"{i:03}.png")


def evaluation(root):
    import jax
    import jax.numpy as jnp

    from dajax import tasks
    from dajax.methods import METHODS, Sizes
    from dajax.recipes import source_only_seg as recipe
    from dajax.tasks.feed import NEVER

    size = "x".join(map(str, INPUT_HW))
    config = recipe.get_config(
        f"own,source={root},target={root},evaluation={root},classes={root}/classes.csv,size={size}"
    )
    config.evaluation.reestimate_batches = 0
    config.runtime.eval_batch_size = 8
    name = "source_only"
    stage, task = config[name], tasks.get(config.task)
    domains, devices = task.open_data(config), jax.devices()[:1]
    model = task.build_model(config, stage, domains)
    blocks = (1,) * len(model.backbone.stage_sizes)  # which compiles in half the time
    model = model.clone(backbone=model.backbone.clone(stage_sizes=blocks))
    feed = task.make_feed(
        domains,
        config,
        name,
        directory=pathlib.Path(root, name),
        devices=devices,
        stop=NEVER,
    )
    sizes = Sizes(source=FRAMES, target=FRAMES, num_sources=1)
    images = jnp.zeros((2, *domains.image_shape))
    state = jax.jit(
        lambda: METHODS[stage.method].init(
            jax.random.key(0), images, config=stage, model=model, sizes=sizes
        )
    )()

    def run():
        found = task.evaluate(state, data=feed, model=model, config=config, stage_config=stage)
        return {"miou": found.report["miou"]}

    return Prepared(lambda: run, devices[0])
