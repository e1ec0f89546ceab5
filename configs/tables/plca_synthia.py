"""PLCA's comparison on SYNTHIA -> Cityscapes, over 16 and 13 classes.

  python run.py --config=tables/plca_synthia
  python run.py --config=tables/plca_synthia:synthia=DIR,cityscapes=DIR,weights=DIR --seeds=0,1,2

configs/base/tables.py has the arguments, and what stands in the folder of weights.
"""

from dajax.recipes.base import tables
from dajax.recipes.tables.plca_gta5 import ROWS


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("plca_synthia", arg, tables.SYNTHIA, ROWS)
