"""PLCA as published, 4 + 4 crops of 730x730 in two micro-batches, on a GPU: time and memory of a
step in float32 and bfloat16. Its association keeps its products in float32.
"""

import functools

import numpy as np

from benchmarks import network_setup as setup
from benchmarks.cases import Case
from benchmarks.contenders import planned_mib
from benchmarks.race import Prepared

TITLE = "PLCA's step at 730x730, 4 + 4, two micro-batches: memory and time on a GPU"
MINUTES = 3.5  # on 16 cores with an H200
NEEDS = ("ml_collections",)

QUICK_SIDE, QUICK_BATCH = 33, 1
RECIPE = "gta5_to_cityscapes,source_root=.,target_root=.,weights=none"


def cases(folder, is_quick):
    """See groups.py."""
    del folder
    contenders = {
        dtype: functools.partial(step, dtype=dtype, is_quick=is_quick)
        for dtype in ("float32", "bfloat16")
    }
    # one after the other: together they might not fit
    return [Case("step as published", contenders, repeats=3, together=False, remark=loss)]


def loss(name, result):
    """For the remark."""
    del name
    return f"loss {float(result.answer['loss']):.4g}"


def step(dtype, is_quick):
    import jax
    import jax.numpy as jnp

    from dajax.methods.segmentation import plca as method
    from dajax.models.build import build_segmenter
    from dajax.parallel import compile_train_step
    from dajax.recipes import plca as recipe

    config = recipe.get_config(RECIPE)
    stage, size_hw = config.plca, tuple(config.data.transforms.source.size)
    config.model.dtype = dtype
    model = build_segmenter(config.model, stage, num_classes=setup.CLASSES)
    if is_quick:
        stage.batch_size, size_hw = QUICK_BATCH, (QUICK_SIDE, QUICK_SIDE)
        model = model.clone(backbone=model.backbone.clone(stage_sizes=setup.QUICK_BLOCKS))
    rows = stage.batch_size * stage.accumulate
    source, label = setup.labelled_images("segmenter", (rows, *size_hw), 0)
    target, _ = setup.labelled_images("segmenter", (rows, *size_hw), 1)
    mask = np.ones(rows, bool)
    batch = jax.device_put(
        {
            "source": {"image": source, "label": label, "mask": mask},
            "target": {"image": target, "mask": mask},
        }
    )
    rng = jax.random.key(0)
    state = setup.state_with(
        lambda: method.init(rng, jnp.zeros((1, 65, 65, 3)), config=stage, model=model),
        *setup.random_trees(model),
    )
    compiled_step = compile_train_step(
        functools.partial(method.train_step, config=stage, model=model), jax.devices()[:1]
    )

    def build():
        compiled, held = compiled_step.lower(state, batch, rng).compile(), [state]

        def run():
            held[0], metrics = jax.block_until_ready(compiled(held[0], batch, rng))
            return {"loss": metrics["loss"]} | planned_mib(compiled)

        return run

    return Prepared(build, jax.devices()[0])
