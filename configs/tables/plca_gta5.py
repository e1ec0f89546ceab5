"""PLCA's comparison on GTA5 -> Cityscapes.

  python run.py --config=tables/plca_gta5
  python run.py --config=tables/plca_gta5:gta5=DIR,cityscapes=DIR,weights=DIR --seeds=0,1,2

configs/base/tables.py has the arguments, and what stands in the folder of weights.
"""

from dajax.recipes.base import tables

ROWS = tables.SEGMENTATION | {"Source": tables.row("source_only_seg:like=plca", "source_only")}


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("plca_gta5", arg, {"GTA5": tables.GTA5}, ROWS)
