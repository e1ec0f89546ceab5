"""Writes a network in one of the formats, and keeps the file only where it predicts what dajax
predicts.
"""

import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from dajax.engine import out_folder
from dajax.errors import UserError
from dajax.export import contract, onnx, parity, program, savedmodel, stablehlo, torch_weights


class Format(Protocol):
    """What a module of a format has.

    Attributes:
      ANY_SIZE: whether its pictures may have any height and width.
    """

    ANY_SIZE: bool

    def require(self) -> None:
        """Raises UserError where a library is absent, with the command that installs it."""

    def write(self, path: pathlib.Path, trained: Any, program: program.Program, contract: dict):
        """Writes the file, or folder, `path`, which does not exist.

        Args:
          trained: dajax.trained.Trained.
          program: of it.
          contract: contract.describe of both.
        """

    def reader(self, path: pathlib.Path, trained: Any) -> Callable:
        """f(images uint8 [N, H, W, C]) -> probabilities float32 [N, K] or [N, H, W, K] of what was
        written.

        Args:
          trained: dajax.trained.Trained, for the format that holds weights alone.
        """


FORMATS = {
    "stablehlo": stablehlo,
    "onnx": onnx,
    "savedmodel": savedmodel,
    "safetensors": torch_weights,
}


class Written(NamedTuple):
    """`contract`, see contract.describe; `difference`, the largest one of a probability; `bytes`
    that the file or folder takes.
    """

    contract: dict
    difference: float
    bytes: int


def check(name, out):
    """What can be said before a network is opened.

    Raises:
      UserError: `out` exists, or a library of the format is absent.
    """
    if os.path.lexists(out):
        raise UserError(f"--out={out}: exists already; name another path, or move it away")
    FORMATS[name].require()


def export(trained, name, out):
    """Writes a network and compares what was written with dajax's own predictions.

    Args:
      trained: dajax.trained.Trained.
      name: a key of FORMATS.
      out: path of the file, for "savedmodel" of the folder; its parents are created.

    Returns:
      Written.

    Raises:
      UserError: as `check`; or a probability differs by more than parity.TOLERANCE. Then nothing
        is left.
    """
    out, format_ = pathlib.Path(out), FORMATS[name]
    check(name, out)
    made = program.build(trained, any_size=format_.ANY_SIZE)
    said = contract.describe(trained, made)
    out_folder.make(out.parent)
    # beside it, under its own name: only what has passed stands at `out`
    folder = pathlib.Path(tempfile.mkdtemp(prefix=".export-", dir=out.parent))
    try:
        path = folder / out.name
        format_.write(path, trained, made, said)
        difference = parity.largest_difference(
            format_.reader(path, trained), parity.pictures(made, trained), trained
        )
        if not difference <= parity.TOLERANCE:
            raise UserError(_refusal(name, out, difference, trained))
        size = sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
        os.replace(path, out)
    finally:
        shutil.rmtree(folder)
    return Written(said, difference, size)


def _refusal(name, out, difference, trained):
    line = (
        f"--out={out}: was not kept: on {parity.COUNT} pictures its probabilities differ from"
        f" predict's by up to {difference:.1e}, at most {parity.TOLERANCE:.0e} is allowed"
    )
    if trained.config.model.get("dtype", "float32") != "float32":
        return (
            f"{line}; config.model.dtype={trained.config.model.dtype} rounds differently in"
            " another program: choose another --format, or train in float32"
        )
    return f"{line}; choose another --format than {name}, and please report it"
