"""DomainNet on the slides of CAN's authors: six targets, one source and five, ResNet-101.

  python run.py --config=tables/can_domainnet
  python run.py --config=tables/can_domainnet:domainnet=DIR,weights=DIR --seeds=0,1,2

configs/base/tables.py has the arguments, and what stands in the folder of weights.
Of the embedded digits about ten minutes on two cores. Each row of a single source is thirty runs a
seed; its cells are the best of five, an oracle's choice.
"""

from dajax.recipes.base import tables
from dajax.recipes.base.classification import DOMAINS

COLUMNS = {
    target: tables.column("domainnet", "accuracy", f"target={target}")
    for target in DOMAINS["domainnet"]
}
SINGLE = ("Source", "RevGrad", "DAN", "JAN", "MCD", "SE", "CAN")
ROWS = {
    f"Single best: {name}": tables.CLASSIFICATION[name]._replace(best_source=True)
    for name in SINGLE
} | {
    "M3SDA": tables.row("m3sda"),
    "CAN, sources merged": tables.row("mscan", "can_merged"),
    "MSCAN without BSA": tables.row("mscan", "mscan_without_bsa"),
    "MSCAN": tables.row("mscan"),
}


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("can_domainnet", arg, COLUMNS, ROWS)
