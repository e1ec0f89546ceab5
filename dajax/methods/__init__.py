"""One adaptation method per file: a module with the functions of `Method`, see interface.py.

METHODS has those of this package. A stage may name any other module that can be imported, by its
dotted name: method="my_package.my_method".
"""

import importlib
import os
import sys
import traceback

from dajax.errors import UserError
from dajax.methods import adabn, interface, pseudo_labels
from dajax.methods.classification import (
    afn,
    can,
    cdan,
    coral,
    dan,
    dann,
    jan,
    m3sda,
    mcc,
    mcd,
    mdd,
    mscan,
    self_ensemble,
    shot,
    source_only,
)
from dajax.methods.interface import Method, Sizes
from dajax.methods.segmentation import (
    adaptsegnet,
    bicl,
    clan,
    cross_domain_mixing,
    entropy_minimization,
    fada,
    pixmatch,
    plca,
    proda,
    self_training,
    spcl,
)
from dajax.methods.segmentation import source_only as source_only_seg

__all__ = ["METHODS", "Method", "Sizes", "get", "is_for"]

METHODS = {
    "adabn": adabn,
    "adaptsegnet": adaptsegnet,
    "afn": afn,
    "bicl": bicl,
    "can": can,
    "cdan": cdan,
    "clan": clan,
    "coral": coral,
    "cross_domain_mixing": cross_domain_mixing,
    "dan": dan,
    "dann": dann,
    "entropy_minimization": entropy_minimization,
    "fada": fada,
    "jan": jan,
    "m3sda": m3sda,
    "mcc": mcc,
    "mcd": mcd,
    "mdd": mdd,
    "mscan": mscan,
    "pixmatch": pixmatch,
    "plca": plca,
    "proda": proda,
    "pseudo_labels": pseudo_labels,
    "self_ensemble": self_ensemble,
    "self_training": self_training,
    "shot": shot,
    "source_only": source_only,
    "source_only_seg": source_only_seg,
    "spcl": spcl,
}


def is_for(method, task):
    """Whether a method is for a task: TASK names the only one, and without TASK it is for both."""
    return getattr(method, "TASK", task) == task


def get(name, task, key):
    """The module of a method.

    Args:
      name: of METHODS, or the dotted name of a module. task: config.task. key: of the config, for
        messages.

    Raises:
      UserError: an unknown name, a module that cannot be imported or is no method, or a method of
        the other task.
    """
    where = f"{key}='{name}'"
    if name in METHODS:
        method = METHODS[name]
    elif "." in name:
        method = _imported(name, where)
    else:
        raise UserError(
            f"{where} is unknown; methods of {task}: {_names(task)}; or the dotted name of a module"
            " of your own"
        )
    interface.check(method, where)
    if not is_for(method, task):
        raise UserError(
            f"{where} is a method of the other task, this is {task}; methods of {task}:"
            f" {_names(task)}"
        )
    return method


def _names(task):
    return ", ".join(name for name, method in METHODS.items() if is_for(method, task))


def _imported(name, where):
    """A module that is not of this package; the current folder is looked in last."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(name)
    except Exception as error:  # somebody else's program: whatever it raises is one line
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise UserError(
                f"{where} cannot be imported: there is no module {error.name} in this environment,"
                f" on PYTHONPATH or in {os.getcwd()}"
            ) from error
        last = traceback.extract_tb(error.__traceback__)[-1]
        what, place = error, f"{last.filename}, line {last.lineno}"
        if isinstance(error, SyntaxError):
            what, place = error.msg, f"{error.filename}, line {error.lineno}"
        raise UserError(
            f"{where} cannot be imported: {type(error).__name__}: {what} ({place}); --debug shows"
            " all of it"
        ) from error
