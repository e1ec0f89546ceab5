"""SPCL's table 4: its stages, GTA5 and SYNTHIA -> Cityscapes.

  python run.py --config=tables/spcl_ablations
  python run.py --config=tables/spcl_ablations:gta5=DIR,synthia=DIR,cityscapes=DIR,weights=DIR

configs/base/tables.py has the arguments, and what stands in the folder of weights.
"""

from dajax.recipes.base import tables

RUN = "spcl:ablations"
ROWS = {
    "Warm-up": tables.row(RUN, "warm_up"),
    "+ self-training": tables.row(RUN, "ssl_only"),
    "+ contrast, source": tables.row(RUN, "contrast_source"),
    "+ contrast, both": tables.row(RUN, "spcl"),
    "SPCL": tables.row(RUN, "self_training"),
}


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("spcl_ablations", arg, {"GTA5": tables.GTA5} | tables.SYNTHIA, ROWS)
