"""SPCL's table 5: the decay of its prototypes, alpha, GTA5 -> Cityscapes.

  python run.py --config=tables/spcl_decay
  python run.py --config=tables/spcl_decay:gta5=DIR,cityscapes=DIR,weights=DIR --seeds=0,1,2

configs/base/tables.py has the arguments, and what stands in the folder of weights.
"""

from dajax.recipes.base import tables

ROWS = {
    f"alpha {value}": tables.row("spcl:vary=decay", f"decay_{value:g}_trained".replace(".", "_"))
    for value in (0.0, 0.1, 0.2, 0.5, 0.8, 1.0)
}


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("spcl_decay", arg, {"GTA5": tables.GTA5}, ROWS)
