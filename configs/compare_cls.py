"""Every classification method from one source-only network, with one network and optimiser: CAN's.

  python run.py --config=compare_cls                  rendered digits -> handwriting
  python run.py --config=compare_cls:folder,root=DIR,source=A,target=B,size=64
  python run.py --config=compare_cls:office31,root=DIR,source=amazon,weights=FILE

FILE is resnet50-19c8e357.pth: configs/base/classification.py says where it is to be had, and has
all arguments. `folder` trains from random weights without `weights`. How long the baselines take:
configs/base/cans_network.py.

Rows: source only, AdaBN, DANN, CDAN, DAN, JAN, MCD, CAN with weight 0 (its schedule without its
loss), CAN intra-class only, CAN; and Deep CORAL, the last since a workdir of the version without it
takes further stages at its end only.
"""

from dajax.recipes import can, cdan, coral, dan, dann, jan, mcd
from dajax.recipes.base import classification as cls_base

VARIANTS = cls_base.VARIANTS
BASELINES = {"dann": dann, "cdan": cdan, "dan": dan, "jan": jan, "mcd": mcd, "coral": coral}


def get_config(arg=None):
    """The recipe; see the module's docstring for the variants."""
    arg = cls_base.parse(arg, VARIANTS)
    arg.network = "can"  # every row's
    config = cls_base.start("compare_cls", arg)
    rows = {name: recipe.stage(arg) for name, recipe in BASELINES.items()} | can.ablations(arg)
    rows["coral"] = rows.pop("coral")  # to the end: see above
    if cls_base.from_scratch(arg):
        rows = {"adabn": cls_base.adabn()} | rows
    elif arg.variant not in cls_base.LARGE:
        rows = {"source_only": can.authors_source_only(arg)} | rows  # a row, not a start
    config.update(rows)
    config.stages += tuple(rows)
    return config
