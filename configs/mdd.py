"""MDD (Zhang et al., ICML 2019): margin disparity discrepancy, an adversary beside the classifier.

  python run.py --config=mdd                      rendered digits -> handwriting
  python run.py --config=mdd:digits,network=can   with CAN's network
  python run.py --config=mdd:folder,root=DIR,source=A,target=B,size=64
  python run.py --config=mdd:office31,root=DIR,source=amazon,target=webcam,weights=FILE
  python run.py --config=mdd:visda2017,root=DIR,weights=FILE

FILE is resnet50-19c8e357.pth, with visda2017 and domainnet resnet101-5d3b4d8f.pth:
configs/base/classification.py says where they are to be had, and has the other variants. `control`
is the same stage with weight 0.

Published: Office-31 88.9, Office-Home 68.1, VisDA-2017 with ResNet-50 74.6 (paper, the last quoted
from memory; of which step is not said); tllib's runs, the best step by target labels, 89.6, 69.7
and, with ResNet-101, 82.0. Not reproduced here yet.
"""

from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import tllib

VARIANTS = tllib.VARIANTS


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    # model/MDD.py; drawn from narrow normal distributions there, here as torch's own
    network = dict(
        head_init="torch",
        bottleneck=1024,
        bottleneck_norm=True,
        dropout=0.5,
        head_widths=(1024,),
        head_layers="plain",
    )
    if arg.variant == "officehome":
        network.update(bottleneck=2048, head_widths=(2048,))
    return tllib.recipe("mdd", arg, stage(arg), network, control=dict(weight=0.0))


def stage(arg):
    """MDD for a variant: the authors' train.py and model/MDD.py (thuml/MDD, 51e5484); a comment
    names every other origin.
    """
    settings = cls_base.stage(
        "mdd",
        steps=100_000,  # at most; tllib's mdd.py runs 20 epochs of 1,000
        batch_size=32,
        joint_pass=True,  # both domains in one batch
        weight=1.0,
        source_weight=4.0,  # srcweight, gamma of the paper
        log_floor=1e-6,  # tllib's; the authors' plain log(1 - p) is inf where p rounds to 1
        reversal=dict(low=0.0, high=0.1, alpha=1.0, ramp_steps=1000),
        # the schedule takes a fifth of the step: (1 + 0.001 i / 5) ** -0.75
        optimizer=tllib.sgd(lr=0.004, alpha=0.0002, weight_decay=5e-4),
    )
    if arg.variant == "officehome":
        settings.source_weight = 2.0
    return tllib.fit(settings, arg)
