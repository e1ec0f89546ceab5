"""Every classification method with one network and optimiser, CAN's, from random weights after one
source-only stage.

  python run.py --config=compare_cls                  rendered digits -> handwriting
  python run.py --config=compare_cls:folder,root=DIR,source=A,target=B,size=64
  python run.py --config=compare_cls:office31,root=DIR,source=amazon,weights=FILE

FILE is resnet50-19c8e357.pth: configs/base/classification.py says where it is to be had, and has
all arguments. `folder` trains from random weights without `weights`. How long the baselines take:
configs/base/cans_network.py.

Rows: source only and AdaBN (from random weights; on Office-31 source only as a row of its own; on
VisDA-2017 and DomainNet neither), DANN, CDAN, DAN, JAN, MCD, CAN with weight 0 (its schedule
without its loss), CAN intra-class only, CAN. Then, since a workdir of the version without them
takes further stages at its end only, Deep CORAL, MCC, BNM, FBNM, AFN, MDD, SE and SHOT after a
source stage of its own; and `control`, a step like theirs without a loss on the target: of all that
take one batch of each domain and one update a step.
"""

from dajax.recipes import afn, bnm, can, cdan, coral, dan, dann, jan, mcc, mcd, mdd, shot
from dajax.recipes import self_ensemble as se
from dajax.recipes.base import classification as cls_base
from dajax.recipes.base import tllib

VARIANTS = cls_base.VARIANTS
BASELINES = {"dann": dann, "cdan": cdan, "dan": dan, "jan": jan, "mcd": mcd}
LATER = {
    "coral": coral,
    "mcc": mcc,
    "bnm": bnm,
    "afn": afn,
    "mdd": mdd,
    "self_ensemble": se,
}


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    arg.network = "can"  # every row's
    config = cls_base.start("compare_cls", arg)
    rows = {name: recipe.stage(arg) for name, recipe in BASELINES.items()} | can.ablations(arg)
    rows |= {name: recipe.stage(arg) for name, recipe in LATER.items()}
    rows["fbnm"] = tllib.control_of(rows["bnm"], term="fast_nuclear_norm")
    rows |= shot.stages(arg, "shot_source")
    rows["control"] = tllib.control_of(rows["mcc"], weight=0.0)
    if cls_base.from_scratch(arg):
        rows = {"adabn": cls_base.adabn()} | rows
    elif arg.variant not in cls_base.LARGE:
        rows = {"source_only": can.authors_source_only(arg)} | rows  # a row, not a start
    config.update(rows)
    config.stages += tuple(rows)
    return config
