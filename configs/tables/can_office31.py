"""Office-31 on the slides of CAN's authors: six tasks, ResNet-50.

  python run.py --config=tables/can_office31
  python run.py --config=tables/can_office31:office31=DIR,weights=DIR --seeds=0,1,2

configs/base/tables.py has the arguments, and what stands in the folder of weights.
Of the embedded digits about ten minutes on two cores; 36 runs of published data a seed. The rows
before CAN are those of other works; here they have tllib's settings or their authors', see the
recipes.
"""

from dajax.recipes.base import tables

TASKS = ("A-W", "D-W", "W-D", "A-D", "D-A", "W-A")
NAMES = {"A": "amazon", "D": "dslr", "W": "webcam"}
COLUMNS = {
    task: tables.column(
        "office31", "accuracy", f"source={NAMES[task[0]]}", f"target={NAMES[task[2]]}"
    )
    for task in TASKS
}


def get_config(arg=None):
    """The table; see configs/base/tables.py for the arguments."""
    return tables.recipe("can_office31", arg, COLUMNS, tables.CLASSIFICATION)
