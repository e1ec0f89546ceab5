"""CDAN (Long et al., NeurIPS 2018): DANN whose discriminator sees the predicted class too. CDAN+E:
--config.cdan.entropy_conditioning=True.

  python run.py --config=cdan                      rendered digits -> handwriting
  python run.py --config=cdan:digits,network=can   with CAN's network
  python run.py --config=cdan:folder,root=DIR,source=A,target=B,size=64
  python run.py --config=cdan:office31,root=DIR,source=amazon,target=webcam,weights=FILE
  python run.py --config=cdan:visda2017,root=DIR,weights=FILE
  python run.py --config=cdan:domainnet,root=DIR,target=clipart,weights=FILE

FILE is resnet50-19c8e357.pth, with visda2017 and domainnet resnet101-5d3b4d8f.pth:
configs/base/classification.py says where they are to be had. The digits need no download and take
minutes on two cores. Without `source`, domainnet takes all other domains as one source. With
network=can the method has the network, views and optimiser of configs/compare_cls.py.

Office-31, average of six tasks, ResNet-50 (slides of CAN, which have no row on VisDA-2017): 87.7.
The settings here are tllib's (configs/base/tllib.py says which are not), whose own figures
docs/methods/cdan.md has. Not reproduced here yet.
"""

from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import tllib

VARIANTS = tllib.VARIANTS


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    # tllib/alignment/cdan.py, ImageClassifier
    network = tllib.bottleneck(arg, norm=True, dropout=0.0)
    return tllib.recipe("cdan", arg, stage(arg), network)


def stage(arg):
    """CDAN for a variant: tllib's cdan.py and cdan.sh; a comment names every other origin."""
    settings = cls_base.stage(
        "cdan",
        steps=20_000,  # Office-31: 20 epochs of 1,000 (cdan.sh; cdan.py -i)
        batch_size=32,  # cdan.py -b
        weight=1.0,  # cdan.py --trade-off
        joint_pass=True,  # both domains in one batch
        discriminator_width=1024,  # cdan.py, DomainDiscriminator
        # tllib/alignment/cdan.py: the gradient's weight rises from 0 to 1
        reversal=dict(low=0.0, high=1.0, alpha=1.0, ramp_steps=1000),
        entropy_conditioning=False,  # True: CDAN+E
        randomized_dim=0,  # width of a random projection of the conditioned features; 0: none
        optimizer=tllib.sgd(lr=0.01, alpha=0.001, weight_decay=1e-3),
    )
    if arg.variant in ("visda2017", "officehome"):
        settings.steps = 30_000  # cdan.sh: 30 epochs of 1,000
    elif arg.variant == "domainnet":
        settings.steps = tllib.domainnet_steps(arg)  # cdan.sh
        settings.randomized_dim = 51_200  # cdan.sh: -r -rd 51200
    return tllib.fit(settings, arg)
