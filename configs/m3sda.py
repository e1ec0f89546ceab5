"""M3SDA (Peng et al., ICCV 2019): moment matching from several labelled sources.

  python run.py --config=m3sda      three rendered worlds -> handwriting; no download
  python run.py --config=m3sda:digits_five,root=DIR,target=mnistm
  python run.py --config=m3sda:folder,root=DIR,source=A+B+C,target=D,size=64
  python run.py --config=m3sda:domainnet,root=DIR,target=clipart,weights=FILE

FILE is resnet101-5d3b4d8f.pth, with office31 resnet50-19c8e357.pth: configs/base/classification.py
says where they are to be had, and has all arguments. Without `source`, domainnet and digits_five
take all other domains. `control` is the same stage without moments and without discrepancy.
configs/mscan.py has M3SDA as a row beside MSCAN.

Published: DomainNet, mean of six targets, 42.6 (the code of it was not released); Digits-Five 87.7
of M3SDA-beta (quoted from memory). Not reproduced here.
"""

from ml_collections import ConfigDict

from dajax.recipes.base import cans_network, tllib
from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import common as base

VARIANTS = cls_base.VARIANTS


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    config = cls_base.start_with_several("m3sda", arg)
    rows = {"m3sda": stage(arg)}
    control = tllib.control_of(rows["m3sda"], weight=0.0, moment_weight=0.0)
    rows = {"control": control} | rows
    config.update(rows)
    config.stages += tuple(rows)
    return config


def stage(arg):
    """M3SDA for a variant: the released digits code (VisionLearningGroup.github.io, 00928e4); a
    comment names every other origin.
    """
    adam = base.adam(lr=0.0002, schedule="constant", weight_decay=5e-4)
    settings = cls_base.stage(
        "m3sda",
        steps=10_000,  # ours
        batch_size=128,  # of each domain
        weight=1.0,
        moment_weight=5e-4,
        moment_orders=2,  # the paper; 5 in the code
        num_k=4,  # updates of the features in a step
        optimizer=adam,
        classifier_optimizer=adam,
    )
    if arg.variant == "digits_five":
        settings.init_from = "source_only"  # ours, as the other methods
        return settings
    # All else is ours. Photos: CAN's network and optimiser; from scratch: MCD's rates.
    if cls_base.from_scratch(arg):
        # a step passes the network 12 times, of three sources
        settings.update(init_from="source_only", steps=300, batch_size=32)
        settings.optimizer = ConfigDict(tllib.sgd(lr=0.01, alpha=0.0, weight_decay=5e-4))
        settings.optimizer.lr_multipliers = ()
    else:
        cans_network.fit(settings, arg)
        settings.target_bn = 0  # one set of statistics, as in the code
    settings.classifier_optimizer = settings.optimizer.copy_and_resolve_references()
    settings.optimizer.update(momentum=0.0, nesterov=False, lr_multipliers=())
    settings.classifier_optimizer.update(lr=0.01, lr_multipliers=())
    return settings
