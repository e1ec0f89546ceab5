"""BNM (Cui et al., CVPR 2020): the nuclear norm of the target's predictions is maximised; by
--config.bnm.term=fast_nuclear_norm FBNM, without a singular value decomposition, which accelerators
are slow at; by frobenius_norm the BFM that the authors compare to.

  python run.py --config=bnm                      rendered digits -> handwriting
  python run.py --config=bnm:digits,network=can   with CAN's network
  python run.py --config=bnm:office31,root=DIR,source=amazon,target=webcam,weights=FILE

FILE is resnet50-19c8e357.pth: configs/base/classification.py says where it is to be had, and has
the other variants. `control` is the same stage with weight 0.

Office-31, mean of six tasks: 87.1 (paper, quoted from memory). Not reproduced here yet. Their code
crops amazon's images at random, webcam's and dslr's at a random size; here both domains of
Office-31 have the second view, tllib's.
"""

from dajax.recipes import mcc
from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import tllib

VARIANTS = tllib.VARIANTS
LOW_RATE = (("amazon", "dslr"), ("dslr", "webcam"), ("webcam", "dslr"))  # 0.0003 for 0.001


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    is_tllibs = arg.variant != "officehome"  # a random crop there (image_target)
    settings = stage(arg), network(arg)
    return tllib.recipe("bnm", arg, *settings, control=dict(weight=0.0), views=is_tllibs)


def network(arg):
    """The authors' ResNetFc with use_bottleneck False: the head is all that is new. From scratch
    MCC's network (ours).
    """
    if cls_base.from_scratch(arg):
        return mcc.network(arg)
    return dict(bottleneck=0, head_init="kaiming")


def stage(arg):
    """BNM for a variant: the authors' DA/BNM/train_image.py (cuishuhao/BNM, 2d23c61); a comment
    names every other origin.
    """
    settings = cls_base.stage(
        "mcc",
        steps=6004,  # the commands of DA/BNM/README.md; 6,002 where none is given
        batch_size=36,
        joint_pass=False,
        term="nuclear_norm",
        temperature=1.0,  # which this term does not read
        weight=1.0,
        # 0.001 at the backbone, ten times that at the head; weight decay 5e-4 of decay_mult 2
        optimizer=tllib.sgd(lr=0.01, alpha=0.001, weight_decay=1e-3),
    )
    if arg.variant == "office31" and cls_base.domains(arg) in LOW_RATE:
        settings.optimizer.lr = 0.003
    return tllib.fit(settings, arg)
