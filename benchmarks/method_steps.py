"""The train step of every method, relative to that of source only: what a method's losses and
further passes cost. The network is the small one of the recipe with one block a stage. Batches are
made up; every part of a batch has as many images, and the remark says how many a step sees in all.
"""

import functools

import numpy as np

from benchmarks.cases import Case
from benchmarks.contenders import planned_mib
from benchmarks.race import Prepared

TITLE = "the train step of every method, relative to source only's"
MINUTES = 5
NEEDS = ("ml_collections",)

# Recipe, its argument and the stage in it; of any other method the recipe of its name and its stage
# of that name.
STAGES = {
    "source_only": ("can", None, "source_only"),
    "adabn": ("can", "ablations", "adabn"),
    "source_only_seg": ("adaptsegnet", None, "source_only"),
    "self_training": ("spcl", None, "self_training"),
    "bicl": ("bicl", None, "bicl_0"),
    "cross_domain_mixing": ("dacs", None, "dacs"),
    "entropy_minimization": ("maxsquare", "scenes,levels=multi", "max_square_iw_multi"),
}
# Forms of a method whose cost may be another, likewise.
FORMS = {
    "classification": {
        "bnm": ("compare_cls", None, "bnm"),
        "fbnm": ("compare_cls", None, "fbnm"),
    },
    "segmentation": {
        "adabn": ("adaptsegnet", None, "adabn"),
        "max_square_iw": ("compare_seg", None, "max_square_iw"),  # of one head
        "fda": ("fda", None, "fda_01"),
        "cbst": ("cbst", None, "cbst_0"),  # self-training with a share of the source's images
    },
}
# Parts of a batch, where they are not source and target; of MSCAN see `part_names`.
PARTS = {
    "source_only": ("source",),
    "adabn": ("target",),
    "can": ("source", "class_source", "class_target"),
    "source_only_seg": ("labelled",),
    "self_training": ("target",),
    "shot": ("target",),
}
# Of a part: half of the digits' batch, and the scenes' of adaptation (configs/base).
DIGITS, SCENES = 32, 4
DIGITS_SHAPE, SCENES_SHAPE = (32, 32, 1), (64, 128, 3)
DIGITS_CLASSES, SCENES_CLASSES = 10, 19
SET_SIZE = 400  # of either domain: what a method remembers of each image


def cases(folder, is_quick):
    """See groups.py."""
    del folder
    from dajax.methods import METHODS, is_for

    steps = [name for name, method in METHODS.items() if hasattr(method, "train_step")]
    found = []
    for task, first, images, calls in (
        ("classification", "source_only", DIGITS, 5),
        ("segmentation", "source_only_seg", SCENES, 2),
    ):
        forms = FORMS[task]
        others = [name for name in steps if is_for(METHODS[name], task) and name != first]
        others = [name for name in others if name not in forms]
        if is_quick:
            others = [name for name in others if name in ("can", "self_training")]
        names = (first, *others, *(() if is_quick else forms))
        contenders = {name: functools.partial(step, name, task) for name in names}
        found.append(
            Case(
                f"{task}, {images} images a part",
                contenders,
                repeats=5,
                calls=calls,
                remark=lambda name, result: f"{int(result.answer['images'])} images",
            )
        )
    return found


def step(name, task):
    """One method's step, compiled as the engine compiles it."""
    import jax

    from dajax import parallel

    train_step, state, batch, rng = make(name, task)
    batch = jax.device_put(batch)
    count = int(sum(part["mask"].sum() for part in batch.values()))

    def build():
        compiled = parallel.compile_train_step(train_step, jax.devices()[:1])
        compiled = compiled.lower(state, batch, rng).compile()
        held = [state]

        def run():
            held[0], metrics = jax.block_until_ready(compiled(held[0], batch, rng))
            return {"loss": metrics["loss"], "images": count} | planned_mib(compiled)

        return run

    return Prepared(build, jax.devices()[0])


def make(name, task):
    """(train step, state, batch, key) of a method."""
    import jax
    import jax.numpy as jnp

    from dajax.engine import teacher
    from dajax.methods import METHODS, Sizes, interface

    config, stage = stage_of(name, task)
    model, shape = network(task, config, stage)
    num_sources = len(config.data.source.split("+")) if task == "classification" else 1
    sizes = Sizes(source=SET_SIZE, target=SET_SIZE, num_sources=num_sources)
    batch = {
        part: make_part(part, task, shape, stage, seed)
        for seed, part in enumerate(part_names(stage, num_sources))
    }
    if stage.get("source_share"):  # one batch of both, of which a row is of one domain
        batch["source"]["mask"] = np.arange(SCENES) < SCENES // 2
        batch["target"]["mask"] = ~batch["source"]["mask"]
    method, images, rng = METHODS[stage.method], jnp.zeros((2, *shape)), jax.random.key(0)

    def begun():
        state = method.init(rng, images, config=stage, model=model, sizes=sizes)
        return interface.at_start(method, teacher.begin(state, stage), config=stage, model=model)

    state = jax.jit(begun)()  # operation by operation it takes many times as long
    return functools.partial(method.train_step, config=stage, model=model), state, batch, rng


def stage_of(name, task):
    """(config, the stage's part of it) of the recipe of a method, or of a form of one."""
    import importlib

    recipe, argument, stage = (STAGES | FORMS[task]).get(name, (name, None, name))
    config = importlib.import_module(f"dajax.recipes.{recipe}").get_config(argument)
    return config, config[stage]


def network(task, config, stage):
    """(model, shape of an image) of a recipe; one block a stage, which halves the compilation."""
    from dajax.models.build import build_model, build_segmenter

    if task == "classification":
        model, shape = build_model(config.model, stage, num_classes=DIGITS_CLASSES), DIGITS_SHAPE
    else:
        model = build_segmenter(config.model, stage, num_classes=SCENES_CLASSES)
        shape = SCENES_SHAPE
    blocks = (1,) * len(model.backbone.stage_sizes)
    return model.clone(backbone=model.backbone.clone(stage_sizes=blocks)), shape


def part_names(stage, num_sources):
    """Of the batch of a stage's method."""
    name = stage.method
    if stage.get("source_share"):
        return ("source", "target")
    if name == "m3sda":
        return (*(f"source{i}" for i in range(num_sources)), "target")
    if name != "mscan":
        return PARTS.get(name, ("source", "target"))
    kinds = ("source", "class_source")
    parts = [f"{kind}{i}" for i in range(num_sources) for kind in kinds]
    return (*parts, "class_target")


def make_part(part, task, shape, stage, seed):
    """Images about 0 with labels, all valid. Rows of a class-aware part stand in blocks of a
    class, as many as the stage asks for.
    """
    from dajax.ops.class_blocks import batch_sizes

    rng = np.random.default_rng(seed)
    rows = DIGITS if task == "classification" else SCENES
    if part.startswith("class_"):
        sizes = batch_sizes(stage.class_aware, DIGITS_CLASSES)
        per_class = sizes.target_per_class if part == "class_target" else sizes.source_per_class
        rows = sizes.classes * per_class
    images = rng.standard_normal((rows, *shape), np.float32)
    if task == "classification":
        labels = rng.integers(0, DIGITS_CLASSES, rows)
    else:  # in blocks of 8 x 8 pixels
        small = rng.integers(0, SCENES_CLASSES, (rows, shape[0] // 8, shape[1] // 8))
        labels = small.repeat(8, 1).repeat(8, 2)
    made = {"image": images, "label": labels.astype(np.int32), "mask": np.ones(rows, bool)}
    if stage.method == "self_ensemble":
        made["strong_image"] = rng.standard_normal(images.shape, np.float32)
    if stage.method == "shot":
        made["index"] = np.arange(rows, dtype=np.int32)
    return made
