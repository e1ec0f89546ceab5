"""Deep CORAL (Sun and Saenko, ECCV Workshops 2016): the covariances of both domains' logits.

  python run.py --config=coral                      rendered digits -> handwriting
  python run.py --config=coral:office31,root=DIR,source=amazon,target=webcam,weights=FILE

FILE is resnet50-19c8e357.pth: configs/base/classification.py says where it is to be had.

Not reproduced here: the paper trains AlexNet. Network, views and optimiser are those of the other
baselines (configs/base/tllib.py); the weight is the authors'.
"""

from dajax.recipes.base import cans_network, tllib
from dajax.recipes.base import classification as cls_base

VARIANTS = tllib.VARIANTS


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    config = cls_base.start("coral", arg)
    if arg.network == "own":
        tllib.use_views(config, arg)
        config.model.update(tllib.bottleneck(arg, norm=True, dropout=0.0))
    config.coral = stage(arg)
    config.stages += ("coral",)
    return config


def stage(arg):
    """Deep CORAL for a variant."""
    settings = cls_base.stage(
        "coral",
        steps=10_000,  # ours: as configs/dan.py
        batch_size=32,  # ours: as configs/dan.py
        joint_pass=False,  # one domain after the other
        weight=0.8,  # D-CORAL_Office31.zip, amazon -> webcam; .05 to .0001 for the other tasks
        optimizer=tllib.sgd(lr=0.003, alpha=0.0003, weight_decay=5e-4),  # ours: as configs/dan.py
    )
    if arg.network == "can":
        cans_network.fit(settings, arg)
    if cls_base.from_scratch(arg):
        tllib.fit_small_network(settings)
    return settings
