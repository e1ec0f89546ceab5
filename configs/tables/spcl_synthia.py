"""SPCL's table 2: SYNTHIA -> Cityscapes, over 16 and 13 classes.

  python run.py --config=tables/spcl_synthia
  python run.py --config=tables/spcl_synthia:synthia=DIR,cityscapes=DIR,weights=DIR --seeds=0,1,2

configs/base/tables.py has the arguments, and what stands in the folder of weights.
"""

from dajax.recipes.base import tables
from dajax.recipes.tables.spcl_gta5 import ROWS

SINGLE_LEVEL = {"AdaptSegNet": tables.SEGMENTATION["TAN"]}  # whose figures the paper has


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("spcl_synthia", arg, tables.SYNTHIA, ROWS | SINGLE_LEVEL)
