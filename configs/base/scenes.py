"""The embedded street scenes, drawn once and read like GTA5 and Cityscapes; and the settings of a
small network that is trained on them from random weights. No download.
"""

from dajax.recipes.base import common as base
from dajax.recipes.base import deeplab
from dajax.recipes.base import segmentation as seg_base

SIZE_HW = (64, 128)
# Training from random weights, chosen on source only, AdaBN and the oracle, before any method ran.
STEPS, BATCH_SIZE = 800, 8
ADAPTATION = dict(init_from="source_only", steps=500, batch_size=4)  # of every method
# AdaptSegNet's and CLAN's adversary. The authors' weight: 0.003, 0.01 and 0.03 were tried with seed
# 0 and ended lower and lower. Half the authors' width, since at 64 the discriminator took twice the
# segmenter's time.
ADVERSARY = dict(weight=0.001, width=32)


def start(name, heads):
    """A run on the scenes with the small network, without its stages.

    Args:
      name: the run's.
      heads: "single", "twin" or "multi".
    """
    return seg_base.segmentation(name, model=seg_base.small_network(heads), data=data())


def data():
    """`config.data` of the scenes; target labels serve evaluation, and an oracle stage, only."""
    # RGB with ImageNet's mean and deviation: for a network from random weights any will do that
    # brings the values near 1.
    normal = dict(channels="rgb", divisor=255.0, mean=base.IMAGENET_MEAN, std=base.IMAGENET_STD)
    view = seg_base.whole_frames(SIZE_HW) | normal
    training = seg_base.whole_frames(SIZE_HW, flip=True) | normal
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


def optimizer(lr, **settings):
    """Adam, since SGD leaves this small network at twice the loss after so few steps; one rate for
    all of it, since all of it begins at random. Arguments as deeplab.poly_adam.
    """
    return deeplab.poly_adam(lr, **settings) | dict(betas=(0.9, 0.999))  # Adam's usual ones


def supervised(domain, heads):
    """Training on the labels of one world.

    Args:
      domain: "source", or "target" for the oracle, which knows what no method may know.
      heads: config.model's.
    """
    # AdaptSegNet's lambda_seg; twin heads are equals, whose predictions are summed
    aux_weight = 1.0 if heads == "twin" else 0.1
    return seg_base.supervised(
        steps=STEPS,
        batch_size=BATCH_SIZE,
        domain=domain,
        loss=dict(kind="cross_entropy", aux_weight=aux_weight),
        optimizer=optimizer(2e-3),
    )


def adabn():
    """Source only with the statistics of target images, nothing trained."""
    return seg_base.stage("adabn", init_from="source_only", steps=100, batch_size=BATCH_SIZE)


def add_stages(config, control, **methods):
    """The rows that every table has: source only, AdaBN, the step-matched control, the methods, the
    oracle.

    Args:
      config: the run's, with its network.
      control: a method with its target loss at weight 0: same network, steps, passes and schedules.
      **methods: {stage: settings}.
    """
    heads = config.model.heads
    rows = dict(
        source_only=supervised("source", heads),
        adabn=adabn(),
        control=control,
        **methods,
        oracle=supervised("target", heads),
    )
    config.update(rows)
    config.stages = tuple(rows)
