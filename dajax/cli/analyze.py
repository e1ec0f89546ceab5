"""`run.py --mode=analyze`: the report of a finished run, or of several side by side."""

import os

from dajax.engine import config_check, locations
from dajax.errors import UserError
from dajax.report.context import SAMPLES
from dajax.report.write import analyze


def run(config, workdir, *, workdirs, out, stage, samples):
    """Writes the report and says where it is.

    Args:
      config: ConfigDict of the run in `workdir`, which says where its data lie now; None for what
        the workdir says.
      workdir: pathlib.Path of a run; None where `workdirs` names several.
      workdirs, out, stage, samples: values of the flags of these names.

    Raises:
      UserError, DataError: a mistake that the user can mend.
    """
    if workdirs is None:
        if config is not None and (workdir / "config.json").exists():  # else there is none to load
            config_check.check_config(config, workdir)
        paths, configs = [str(workdir)], [config]
        out = os.path.join(workdir, "analysis") if out is None else out
    else:
        paths, configs = _several(workdirs), None
        if config is not None:
            raise UserError(
                "--config: is of one run; with --workdirs each run says its own, leave it out"
            )
        if out is None:
            raise UserError(
                "--workdirs: needs --out=FOLDER for the report of them all; it is missing"
            )
    out = locations.local_path(out, "--out")
    samples = SAMPLES if samples is None else samples
    analyze(paths, out, configs=configs, stage=stage, samples=samples)


def _several(text):
    """ "a,b" -> ["a", "b"]."""
    paths = [locations.local_path(part.strip(), "--workdirs") for part in text.split(",")]
    if not all(paths) or len(set(paths)) < len(paths) or len(paths) < 2:
        raise UserError(
            f"--workdirs={text}: expected two or more different folders, a,b; one is --workdir=a"
        )
    return paths
