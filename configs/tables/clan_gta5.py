"""CLAN's table 1: GTA5 -> Cityscapes, ResNet-101 and VGG-16.

  python run.py --config=tables/clan_gta5
  python run.py --config=tables/clan_gta5:gta5=DIR,cityscapes=DIR,weights=DIR --seeds=0,1,2

configs/base/tables.py has the arguments, and what stands in the folder of weights.
Rows of VGG-16 are measured on the published sets alone.
"""

from dajax.recipes.base import tables

ROWS = tables.SEGMENTATION | {
    "Source": tables.row("source_only_seg", "source_only"),
    "Source V": tables.row("source_only_seg:backbone=vgg16_fcn8s", "source_only"),
}


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("clan_gta5", arg, {"GTA5": tables.GTA5}, ROWS)
