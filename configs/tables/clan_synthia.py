"""CLAN's table 2: SYNTHIA -> Cityscapes over 13 classes, ResNet-101 and VGG-16.

  python run.py --config=tables/clan_synthia
  python run.py --config=tables/clan_synthia:synthia=DIR,cityscapes=DIR,weights=DIR --seeds=0,1,2

configs/base/tables.py has the arguments, and what stands in the folder of weights.
Rows of VGG-16 are measured on the published sets alone.
"""

from dajax.recipes.base import tables
from dajax.recipes.tables.clan_gta5 import ROWS


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("clan_synthia", arg, {"SYNTHIA, 13": tables.SYNTHIA_13}, ROWS)
