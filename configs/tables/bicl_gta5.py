"""BiCL's slides: GTA5 -> Cityscapes.

  python run.py --config=tables/bicl_gta5
  python run.py --config=tables/bicl_gta5:gta5=DIR,cityscapes=DIR,weights=DIR --seeds=0,1,2

configs/base/tables.py has the arguments, and what stands in the folder of weights.
The labels of Cityscapes' test set are nobody's, so that its column is not measured.
"""

from dajax.recipes.base import tables

ROWS = tables.SEGMENTATION | {"Source": tables.row("bicl", "source_only")}


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("bicl_gta5", arg, {"GTA5": tables.GTA5}, ROWS)
