"""AFN (Xu et al., ICCV 2019): features of both domains of a larger norm. SAFN, stepwise; HAFN by
--config.afn.term=hard --config.afn.delta=0 --config.afn.radius=25.

  python run.py --config=afn                      rendered digits -> handwriting
  python run.py --config=afn:digits,network=can   with CAN's network
  python run.py --config=afn:office31,root=DIR,source=amazon,target=webcam,weights=FILE

FILE is resnet50-19c8e357.pth: configs/base/classification.py says where it is to be had, and has
the other variants. `control` is the same stage with weight 0.

Not as in the authors' code: their bottleneck drops units so that the norm of what is left stays,
and begins narrow, N(0, 0.01); of VisDA-2017 it has two layers of 1,000, and here one; their
backbone has no momentum, and here a tenth of the rate with the head's.
"""

import math

from ml_collections import ConfigDict

from dajax.recipes.base import cans_network, tllib
from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import common as base

VARIANTS = tllib.VARIANTS


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    settings = stage(arg), network(arg)
    # VisDA-2017's is tllib's, from the centre; all others crop at random
    is_tllibs = arg.variant == "visda2017"
    return tllib.recipe("afn", arg, *settings, control=dict(weight=0.0), views=is_tllibs)


def network(arg):
    """The authors' model/net.py, ResClassifier. From scratch tllib's bottleneck of JAN (ours)."""
    settings = tllib.bottleneck(arg, norm=True, dropout=0.5)
    return settings if cls_base.from_scratch(arg) else settings | dict(bottleneck=1000)


def stage(arg):
    """AFN for a variant: vanilla/*/SAFN/code of the authors (jihanyang/AFN, d96515b), train.py and
    main.sh, of Office-31 and of VisDA-2017; a comment names every other origin.
    """
    settings = cls_base.stage(
        "afn",
        steps=steps(arg),
        batch_size=32,
        joint_pass=False,  # two passes
        term="stepwise",
        delta=1.0,
        radius=0.0,  # HAFN's 25, which this term does not read
        weight=0.05,  # ImageCLEF-DA's too
        optimizer=base.sgd(
            lr=0.001,
            schedule="constant",
            # 0.001 without momentum: on the whole as much as a tenth with 0.9
            lr_multipliers=(("/backbone/", 0.1),),
        ),
    )
    if arg.variant == "visda2017":
        settings.update(delta=0.3, weight=0.01)
    if cls_base.from_scratch(arg):  # ours: as configs/dan.py
        settings.optimizer = ConfigDict(tllib.sgd(lr=0.003, alpha=0.0003, weight_decay=5e-4))
    return tllib.fit(settings, arg)


def steps(arg):
    """100 epochs of the target, without incomplete batches; of VisDA-2017 50, with them, and for
    DomainNet as many (ours).
    """
    if arg.variant in cls_base.LARGE:
        return 50 * math.ceil(cans_network.IMAGES["visda2017"]["validation"] / 32)
    _, target = cls_base.domains(arg)
    return 100 * (cans_network.num_images(arg, target) // 32)
