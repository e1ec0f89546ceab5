"""Deep CORAL (Sun and Saenko, ECCV Workshops 2016): the covariances of both domains' logits.

  python run.py --config=coral                      rendered digits -> handwriting
  python run.py --config=coral:digits,network=can   with CAN's network
  python run.py --config=coral:office31,root=DIR,source=amazon,target=webcam,weights=FILE

FILE is resnet50-19c8e357.pth: configs/base/classification.py says where it is to be had, and has
the other variants.

THE WEIGHT is to make both terms of the loss about as large at the end of training (the paper). On a
task of your own compare `ce` with weight * `alignment` in the last line of metrics.jsonl, and set
--config.coral.weight.

Not reproduced here: the paper trains AlexNet with a new last layer, and here it is a ResNet.
"""

from ml_collections import ConfigDict

from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import common as base
from dajax.recipes.base import tllib

VARIANTS = tllib.VARIANTS


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    return tllib.recipe("coral", arg, stage(arg))


def stage(arg):
    """Deep CORAL for a variant: the paper's section 4.1 and, of what it does not say, the authors'
    logs (VisionLearningGroup/CORAL, code/D-CORAL_Office31.zip); a comment names every other
    origin.
    """
    settings = cls_base.stage(
        "coral",
        steps=2000,  # their logs, and so is the schedule
        batch_size=128,
        joint_pass=False,  # ours: one domain after the other
        layer="logits",  # fc8
        weight=0.8,  # amazon -> webcam's (VisionLearningGroup/CORAL, code/README.md); else ours
        optimizer=base.sgd(
            lr=0.001,
            momentum=0.9,
            weight_decay=5e-4,
            lr_multipliers=(("head/", 10.0),),  # of the new layer
            schedule="exp",
            gamma=0.1,
            every_steps=500,
        ),
    )
    if cls_base.from_scratch(arg):  # ours: as configs/dan.py
        settings.batch_size = 32
        settings.optimizer = ConfigDict(tllib.sgd(lr=0.003, alpha=0.0003, weight_decay=5e-4))
    return tllib.fit(settings, arg)
