"""The recipes, one `get_config(argument)` a file, and what they share (`base`).

In a checkout they lie in configs/, where `--config=configs/can.py` finds them; this file makes
them importable from there. In an installed dajax they lie here (pyproject.toml), since a package
of the name `configs` would collide with other people's.
"""

import pathlib

__path__ = [str(pathlib.Path(__file__).resolve().parents[2] / "configs")]
