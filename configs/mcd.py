"""MCD (Saito et al., CVPR 2018): two classifiers whose disagreement on the target is maximised and
minimised in turn.

  python run.py --config=mcd                      rendered digits -> handwriting
  python run.py --config=mcd:digits,network=can   with CAN's network
  python run.py --config=mcd:folder,root=DIR,source=A,target=B,size=64
  python run.py --config=mcd:office31,root=DIR,source=amazon,target=webcam,weights=FILE
  python run.py --config=mcd:visda2017,root=DIR,weights=FILE
  python run.py --config=mcd:domainnet,root=DIR,target=clipart,weights=FILE

FILE is resnet50-19c8e357.pth, with visda2017 and domainnet resnet101-5d3b4d8f.pth:
configs/base/classification.py says where they are to be had. The digits need no download and take
minutes on two cores. Without `source`, domainnet takes all other domains as one source. With
network=can the method has the network, views and optimiser of configs/compare_cls.py.

VisDA-2017 mean-class, ResNet-101 (slides of CAN): 71.9, which is the paper's; docs/methods/mcd.md
says how its code differs. The settings here are tllib's (configs/base/tllib.py says which are not;
from several sources of DomainNet too, MCD takes the 75,000 steps of tllib's one source). Not
reproduced here yet.
"""

from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import common as base
from dajax.recipes.base import tllib

VARIANTS = tllib.VARIANTS


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    # tllib/alignment/mcd.py, ImageClassifierHead
    network = dict(head_init="torch", dropout=0.5, head_widths=(1024, 1024))
    return tllib.recipe("mcd", arg, stage(arg), network)


def stage(arg):
    """MCD for a variant: tllib's mcd.py and mcd.sh; a comment names every other origin."""
    # mcd.py: one fixed rate; the features' optimiser has no momentum
    sgd = base.sgd(lr=0.001, schedule="constant", weight_decay=5e-4)
    settings = cls_base.stage(
        "mcd",
        steps=10_000,  # Office-31 and VisDA-2017: 20 epochs of 500 (mcd.sh)
        batch_size=32,  # mcd.py -b
        joint_pass=True,  # both domains in one batch
        weight=10.0,  # of the disagreement; Office-31 (mcd.sh --trade-off)
        entropy_weight=0.01,  # mcd.py --trade-off-entropy
        num_k=4,  # updates of the features in a step (mcd.py --num-k)
        optimizer=sgd | dict(momentum=0.0),
        classifier_optimizer=sgd,
    )
    if arg.variant == "visda2017":
        settings.weight = 1.0  # mcd.py --trade-off
    elif arg.variant == "officehome":
        settings.weight = 30.0  # mcd.sh: --trade-off
    elif arg.variant == "domainnet":
        settings.update(steps=75_000, weight=120.0)  # mcd.sh: 30 epochs of 2,500; --trade-off
    tllib.fit(settings, arg)
    if arg.network == "can":
        # the features without momentum, as with tllib; the heads at ten times their rate
        settings.classifier_optimizer = settings.optimizer.copy_and_resolve_references()
        settings.classifier_optimizer.update(lr=0.01, lr_multipliers=())
        settings.optimizer.update(momentum=0.0, lr_multipliers=())
    if cls_base.from_scratch(arg):
        settings.classifier_optimizer.lr = 0.01
        settings.steps //= 2  # each step passes the network six times
        settings.update(weight=0.3, entropy_weight=0.03)  # tllib's digits (mcd.sh, MNIST2USPS)
    return settings
