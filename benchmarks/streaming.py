"""Does the memory of prototypes and of pseudo-labels depend on the number of images? SPCL's code
keeps every confidence, 18 GB for Cityscapes.

The real refreshes, that of the `spcl` stage (prototypes of the whole source set) and of the
`pseudo_labels` stage, over images made on the way; labels are counted and dropped,
where a run writes files. "a list": thresholds from a list of all confidences, as the authors' codes
take them, with the same network. Compilation included. No TensorFlow.
"""

import functools

import numpy as np

from benchmarks.cases import Case
from benchmarks.race import Prepared

TITLE = "memory of prototypes and pseudo-labels over 100 and 1,000 images"
MINUTES = 1
NEEDS = ("ml_collections",)

SIZE_HW, BATCH = (64, 128), 4
COUNTS, QUICK_COUNTS = (100, 1000), (4, 8)
CASES = (
    "prototypes (spcl)",
    "thresholds and labels, rule quantile",
    "thresholds, a list",
)


def cases(folder, is_quick):
    """See groups.py."""
    del folder
    counts = QUICK_COUNTS if is_quick else COUNTS
    return [
        Case(
            title,
            {f"{count:,} images": functools.partial(prepare, title, count) for count in counts},
            repeats=1,
            warm_up=False,
        )
        for title in CASES
    ]


class Frames:
    """What a refresh asks of dajax.tasks.segmentation.feed.SegFeed, over images that are noise
    around a pattern of blocks.
    """

    def __init__(self, count, devices):
        self.count, self.devices, self.labelled = count, devices, 0
        self.class_names = tuple(str(k) for k in range(19))
        self.window = None  # the whole image at once

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
    """One case over so many images, as a contender."""
    import jax

    from dajax.methods import METHODS
    from dajax.models.apply import predict_scores
    from dajax.models.build import build_segmenter
    from dajax.recipes import spcl as recipe

    config = recipe.get_config("scenes")
    stage = config.spcl if case == CASES[0] else config.warm_up_labels
    stage.rule = "quantile"
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
    if case != CASES[2]:
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
