"""VisDA-2017 on the slides of CAN's authors: mean over classes, ResNet-101.

  python run.py --config=tables/can_visda2017
  python run.py --config=tables/can_visda2017:visda2017=DIR,weights=DIR --seeds=0,1,2

configs/base/tables.py has the arguments, and what stands in the folder of weights.
Of the embedded digits about ten minutes on two cores.
"""

from dajax.recipes.base import tables

COLUMNS = {"mean": tables.column("visda2017", "mean_class_accuracy")}


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("can_visda2017", arg, COLUMNS, tables.CLASSIFICATION)
