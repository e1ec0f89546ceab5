"""Every classification method from one source-only network, with one network and optimiser: CAN's.

  python run.py --config=configs/compare_cls.py                                              rendered digits -> handwriting
  python run.py --config=configs/compare_cls.py:folder,root=DIR,source=A,target=B,size=64    any folders, from random weights
  python run.py --config=configs/compare_cls.py:office31,root=DIR,source=amazon,target=webcam,weights=resnet50-19c8e357.pth

configs/can.py says where the weights are to be had; how long the baselines take,
configs/base/classification.py.

Rows: source only, AdaBN, DANN, DAN, JAN, CDAN, MCD, CAN with weight 0 (its schedule without its
loss), CAN intra-class only, CAN.
"""

from dajax.recipes import can
from dajax.recipes.base import classification as cls_base


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, networks=())
    config = cls_base.start("compare_cls", arg)
    rows = {method: cls_base.baseline(method, arg) for method in cls_base.BASELINES}
    rows |= can.ablations(arg)
    first = {}
    if cls_base.from_scratch(arg):
        first = {"source_only": config.source_only, "adabn": cls_base.adabn()}
    elif arg.variant not in ("visda2017", "domainnet"):
        first = {"source_only": can.authors_source_only(arg)}  # a row, not a start
    config.update(first | rows)
    config.stages = (*first, *rows)
    return config
