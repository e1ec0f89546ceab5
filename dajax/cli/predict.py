"""`run.py --mode=predict`: what a trained run says of a person's own pictures, as files."""

import re

from dajax import console
from dajax.cli.failures import one_line
from dajax.engine import config_check, locations
from dajax.errors import UserError
from dajax.predict.run import predict


def run(config, workdir, *, images, out, stage, window, folders, select):
    """Predicts, and names at the end what cannot be used.

    Args:
      config: ConfigDict of the run in `workdir`, whose config.runtime is taken; None for what the
        workdir says.
      workdir: pathlib.Path of a run.
      images, out, stage, window, folders, select: values of the flags of these names.

    Returns:
      Whether every picture is predicted.

    Raises:
      UserError, DataError: a mistake that the user can mend.
    """
    if config is not None and (workdir / "config.json").exists():  # else there is none to load
        config_check.check_config(config, workdir)
    broken = predict(
        workdir,
        locations.local_path(images, "--images"),
        locations.local_path(out, "--out"),
        stage=stage,
        window=None if window is None else _height_and_width(window),
        folders=folders,
        select=select,
        runtime=None if config is None else config.runtime,
    )
    if broken:
        console.say(f"not predicted: {len(broken)}; what could be read is done:")
        for line in broken:
            console.say("  " + one_line(line))
    return not broken


def _height_and_width(text):
    """ "512x1024" -> (512, 1024)."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if found is None:
        raise UserError(
            f"--window={text}: expected HEIGHTxWIDTH in pixels of the picture, such as 512x1024"
        )
    return int(found[1]), int(found[2])
