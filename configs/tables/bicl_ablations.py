"""The ablation on BiCL's slides: each row with all its rounds, GTA5 and SYNTHIA -> Cityscapes.

  python run.py --config=tables/bicl_ablations
  python run.py --config=tables/bicl_ablations:gta5=DIR,synthia=DIR,cityscapes=DIR,weights=DIR

configs/base/tables.py has the arguments, and what stands in the folder of weights.
On the scenes a row is one round.
"""

from dajax.recipes.base import tables

RUN = "bicl:ablations"
COLUMNS = {"GTA5": tables.GTA5, "SYNTHIA, 16": tables.SYNTHIA_16}
ROWS = {
    "L_base": tables.row(RUN, "base_9", "base"),
    "+ forward": tables.row(RUN, "forward_9", "forward"),
    "+ backward": tables.row(RUN, "forward_backward_9", "forward_backward"),
    "+ dynamic, not calibrated": tables.row(RUN, "uncalibrated_9", "uncalibrated"),
    "BiCL": tables.row(RUN, "bicl_9", "bicl_0"),
}


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("bicl_ablations", arg, COLUMNS, ROWS)
