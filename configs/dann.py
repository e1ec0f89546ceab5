"""DANN / RevGrad (Ganin and Lempitsky, ICML 2015): a discriminator of features behind a gradient
reversal.

  python run.py --config=dann                      rendered digits -> handwriting
  python run.py --config=dann:digits,network=can   with CAN's network
  python run.py --config=dann:folder,root=DIR,source=A,target=B,size=64
  python run.py --config=dann:office31,root=DIR,source=amazon,target=webcam,weights=FILE
  python run.py --config=dann:visda2017,root=DIR,weights=FILE
  python run.py --config=dann:domainnet,root=DIR,target=clipart,weights=FILE

FILE is resnet50-19c8e357.pth, with visda2017 and domainnet resnet101-5d3b4d8f.pth:
configs/base/classification.py says where they are to be had. The digits need no download and take
minutes on two cores. Without `source`, domainnet takes all other domains as one source. With
network=can the method has the network, views and optimiser of configs/compare_cls.py.

Office-31, average of six tasks, ResNet-50 (slides of CAN): RevGrad 82.2; VisDA-2017 mean-class,
ResNet-101: 57.4. How such rows were run is not stated; the settings here are tllib's
(configs/base/tllib.py says which are not). Its own figures, in
docs/methods/dann.md, are up to 22 points above these. Not reproduced here yet.
"""

from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import tllib

VARIANTS = tllib.VARIANTS


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    # tllib/alignment/dann.py, ImageClassifier
    network = tllib.bottleneck(arg, norm=True, dropout=0.0)
    return tllib.recipe("dann", arg, stage(arg), network)


def stage(arg):
    """DANN for a variant: tllib's dann.py and dann.sh; a comment names every other origin."""
    settings = cls_base.stage(
        "dann",
        steps=20_000,  # Office-31: 20 epochs of 1,000 (dann.sh; dann.py -i)
        batch_size=32,  # dann.py -b
        weight=1.0,  # dann.py --trade-off
        joint_pass=True,  # both domains in one batch
        discriminator_width=1024,  # dann.py, DomainDiscriminator
        # tllib/alignment/dann.py: the gradient's weight rises from 0 to 1
        reversal=dict(low=0.0, high=1.0, alpha=1.0, ramp_steps=1000),
        optimizer=tllib.sgd(lr=0.01, alpha=0.001, weight_decay=1e-3),
    )
    if arg.variant in ("visda2017", "officehome"):
        settings.steps = 30_000  # dann.sh: 30 epochs of 1,000
    elif arg.variant == "domainnet":
        settings.steps = tllib.domainnet_steps(arg)  # dann.sh
    return tllib.fit(settings, arg)
