"""Packages that drawing needs and training does not."""

import importlib

from dajax.errors import UserError

# {module: package}
_PACKAGES = {"matplotlib": "matplotlib", "sklearn": "scikit-learn"}


def load(name):
    """A module of matplotlib or scikit-learn, e.g. "matplotlib.figure".

    Raises:
      UserError: its package is not installed, with the command that installs it.
    """
    package = _PACKAGES[name.partition(".")[0]]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] != name.partition(".")[0]:
            raise
        raise UserError(
            f"{package} is missing, which draws the figures: pip install {package} (or, in a"
            " checkout of dajax, pip install .[analysis])"
        ) from error
