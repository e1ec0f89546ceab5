"""The embedded street scenes, drawn once and read like GTA5 and Cityscapes. No download."""

from dajax.recipes.base import common as base
from dajax.recipes.base import segmentation as seg_base

SIZE_HW = (64, 128)


def scenes():
    """`config.data` of the scenes; target labels serve evaluation, and an oracle stage, only."""
    # RGB with ImageNet's mean and deviation: for a network from random weights any will do that
    # brings the values near 1.
    normal = dict(channels="rgb", divisor=255.0, mean=base.IMAGENET_MEAN, std=base.IMAGENET_STD)
    view, training = (seg_base.whole_frames(SIZE_HW, flip=flip) | normal for flip in (False, True))
    return dict(
        # Pictures of each split; seed: of the drawing, not the run's, so that runs differ in
        # training only.
        scenes=dict(
            root="~/.cache/dajax/scenes",
            size=SIZE_HW,
            source=400,
            target=400,
            evaluation=100,
            seed=0,
        ),
        source=seg_base.domain("scenes_source", ""),
        target=seg_base.domain("scenes_target", "", "train"),
        evaluation=seg_base.domain("scenes_target", "", "val"),
        transforms=dict(source=training, target=training, evaluation=view),
    )
