"""PLCA's table 1: its terms, GTA5 and SYNTHIA -> Cityscapes.

  python run.py --config=tables/plca_ablations
  python run.py --config=tables/plca_ablations:gta5=DIR,synthia=DIR,cityscapes=DIR,weights=DIR

configs/base/tables.py has the arguments, and what stands in the folder of weights.
Rows that aggregate in training are measured with aggregation, the others without (our reading).
"""

from dajax.recipes.base import tables

RUN = "plca:ablations"
COLUMNS = {"GTA5": tables.GTA5, "SYNTHIA, 16": tables.SYNTHIA_16}
ROWS = {
    "Cross-entropy": tables.row(RUN, "cross_entropy"),
    "+ Lovasz": tables.row(RUN, "control", "source_only"),
    "+ association of features": tables.row(RUN, "feature_level", under="aggregated"),
    "+ association of predictions": tables.row(RUN, "both_levels", under="aggregated"),
    "+ LSR: PLCA": tables.row(RUN, "plca", under="aggregated"),
    "Sim-PLCA": tables.row(RUN, "similarity", under="aggregated"),
    "PLCA without aggregation": tables.row(RUN, "no_aggregation"),
}


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("plca_ablations", arg, COLUMNS, ROWS)
