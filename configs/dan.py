"""DAN (Long et al., ICML 2015): the maximum mean discrepancy of features with several kernels.

  python run.py --config=dan                      rendered digits -> handwriting
  python run.py --config=dan:digits,network=can   with CAN's network
  python run.py --config=dan:folder,root=DIR,source=A,target=B,size=64
  python run.py --config=dan:office31,root=DIR,source=amazon,target=webcam,weights=FILE
  python run.py --config=dan:visda2017,root=DIR,weights=FILE
  python run.py --config=dan:domainnet,root=DIR,target=clipart,weights=FILE

FILE is resnet50-19c8e357.pth, with visda2017 and domainnet resnet101-5d3b4d8f.pth:
configs/base/classification.py says where they are to be had. The digits need no download and take
minutes on two cores. Without `source`, domainnet takes all other domains as one source. With
network=can the method has the network, views and optimiser of configs/compare_cls.py.

Office-31, average of six tasks, ResNet-50 (slides of CAN): 80.4; VisDA-2017 mean-class, ResNet-101:
62.8. How such rows were run is not stated; the settings here are tllib's (configs/base/tllib.py
says which are not). Its own figures are in
docs/methods/dan.md. Not reproduced here yet.
"""

from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import tllib

VARIANTS = tllib.VARIANTS


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    # tllib/alignment/dan.py, ImageClassifier
    network = tllib.bottleneck(arg, norm=False, dropout=0.5)
    return tllib.recipe("dan", arg, stage(arg), network)


def stage(arg):
    """DAN for a variant: tllib's dan.py and dan.sh; a comment names every other origin."""
    settings = cls_base.stage(
        "dan",
        steps=10_000,  # Office-31 and VisDA-2017: 20 epochs of 500 (dan.sh; dan.py -i)
        batch_size=32,  # dan.py -b
        weight=1.0,  # dan.py --trade-off
        joint_pass=False,  # one domain after the other
        kernel="tllib",
        statistic="linear",  # dan.py --non-linear: quadratic
        optimizer=tllib.sgd(lr=0.003, alpha=0.0003, weight_decay=5e-4),
    )
    if arg.variant == "domainnet":
        settings.steps = tllib.domainnet_steps(arg)  # dan.sh
    if arg.network == "can":
        settings.update(kernel="can", weight=0.3)  # CAN discrepancy/mmd.py; Office-31/MMD/*.yaml
    return tllib.fit(settings, arg)
