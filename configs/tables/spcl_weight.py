"""SPCL's table 6: the weight of its contrast, lambda, GTA5 -> Cityscapes.

  python run.py --config=tables/spcl_weight
  python run.py --config=tables/spcl_weight:gta5=DIR,cityscapes=DIR,weights=DIR --seeds=0,1,2

configs/base/tables.py has the arguments, and what stands in the folder of weights.
"""

from dajax.recipes.base import tables

ROWS = {
    f"lambda {value:g}": tables.row(
        "spcl:vary=weight", f"weight_{value:g}_trained".replace(".", "_")
    )
    for value in (0.01, 0.1, 0.5, 1.0, 2.0, 10.0)
}


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("spcl_weight", arg, {"GTA5": tables.GTA5}, ROWS)
