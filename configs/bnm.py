"""BNM (Cui et al., CVPR 2020): the nuclear norm of the target's predictions is maximised; by
--config.bnm.term=fast_nuclear_norm FBNM, without a singular value decomposition, which accelerators
are slow at; by frobenius_norm the BFM that the authors compare to.

  python run.py --config=bnm                      rendered digits -> handwriting
  python run.py --config=bnm:digits,network=can   with CAN's network
  python run.py --config=bnm:office31,root=DIR,source=amazon,target=webcam,weights=FILE

FILE is resnet50-19c8e357.pth: configs/base/classification.py says where it is to be had, and has
the other variants. `control` is the same stage with weight 0.

Office-31, mean of six tasks: 87.1 (paper, quoted from memory). Not reproduced here yet.
"""

from dajax.recipes import mcc
from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import tllib

VARIANTS = tllib.VARIANTS


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    # ours: MCC's network
    return tllib.recipe("bnm", arg, stage(arg), mcc.network(arg), control=dict(weight=0.0))


def stage(arg):
    """BNM for a variant: the authors' code (cuishuhao/BNM, 2d23c61); a comment names every other
    origin.
    """
    settings = cls_base.stage(
        "mcc",
        steps=50_004,  # ours: MCC's
        batch_size=36,
        joint_pass=False,  # ours: MCC's
        term="nuclear_norm",
        temperature=1.0,  # which this term does not read
        weight=1.0,
        # 0.001 at the backbone, ten times that at new layers; the rest is MCC's
        optimizer=tllib.sgd(lr=0.01, alpha=0.001, weight_decay=1e-3),
    )
    return tllib.fit(settings, arg)
