"""AFN (Xu et al., ICCV 2019): features of both domains of a larger norm. SAFN, stepwise; HAFN by
--config.afn.term=hard --config.afn.delta=0 --config.afn.radius=25.

  python run.py --config=afn                      rendered digits -> handwriting
  python run.py --config=afn:digits,network=can   with CAN's network
  python run.py --config=afn:office31,root=DIR,source=amazon,target=webcam,weights=FILE

FILE is resnet50-19c8e357.pth: configs/base/classification.py says where it is to be had, and has
the other variants. `control` is the same stage with weight 0.

Not reproduced here: the authors' bottleneck drops units so that the norm of what is left stays.
"""

from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import tllib

VARIANTS = tllib.VARIANTS


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    # ours: tllib's bottleneck of JAN
    network = tllib.bottleneck(arg, norm=True, dropout=0.5)
    return tllib.recipe("afn", arg, stage(arg), network, control=dict(weight=0.0))


def stage(arg):
    """AFN for a variant: the authors' code (jihanyang/AFN, d96515b); a comment names every other
    origin.
    """
    settings = cls_base.stage(
        "afn",
        steps=10_000,  # ours, and so are batch, passes and optimiser: DAN's
        batch_size=32,
        joint_pass=False,
        term="stepwise",
        delta=1.0,
        radius=0.0,  # HAFN's 25, which this term does not read
        weight=0.05,  # Office-Home's and ImageCLEF-DA's
        optimizer=tllib.sgd(lr=0.003, alpha=0.0003, weight_decay=5e-4),
    )
    if arg.variant == "visda2017":
        settings.update(delta=0.3, weight=0.01)  # the weight of VisDA's partial task
    return tllib.fit(settings, arg)
