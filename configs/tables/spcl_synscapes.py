"""SPCL's table 3: Synscapes -> Cityscapes, and its rare classes.

  python run.py --config=tables/spcl_synscapes
  python run.py --config=tables/spcl_synscapes:synscapes=DIR,cityscapes=DIR,weights=DIR

configs/base/tables.py has the arguments, and what stands in the folder of weights.
"""

from dajax.recipes.base import tables
from dajax.recipes.tables.spcl_gta5 import ROWS

SYNSCAPES = "synscapes_to_cityscapes"
COLUMNS = {
    "Synscapes": tables.column(SYNSCAPES, "miou"),
    "Synscapes, tail": tables.column(SYNSCAPES, "miou_tail"),
}


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("spcl_synscapes", arg, COLUMNS, ROWS)
