"""SPCL's table 1: GTA5 -> Cityscapes, ResNet-101 and VGG-16, and its rare classes.

  python run.py --config=tables/spcl_gta5
  python run.py --config=tables/spcl_gta5:gta5=DIR,cityscapes=DIR,weights=DIR --seeds=0,1,2

configs/base/tables.py has the arguments, and what stands in the folder of weights.
"""

from dajax.recipes.base import tables

COLUMNS = {"GTA5": tables.GTA5, "GTA5, tail": tables.GTA5._replace(figure="miou_tail")}
ROWS = tables.SEGMENTATION | {"Source": tables.row("source_only_seg:like=spcl", "source_only")}


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("spcl_gta5", arg, COLUMNS, ROWS)
