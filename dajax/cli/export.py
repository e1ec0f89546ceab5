"""`run.py --mode=export`: a stage of a workdir as one file for other programs."""

import jax

from dajax import console
from dajax.engine import config_check, locations
from dajax.export import formats, parity
from dajax.open_workdir import open_workdir


def run(config, workdir, *, format, out, stage, select):
    """Writes the file, says what is in it and how near its predictions are.

    Args:
      config: ConfigDict of the run in `workdir`; None for what the workdir says.
      workdir: pathlib.Path of a run.
      format, out, stage, select: values of the flags of these names.

    Raises:
      UserError: a mistake that the user can mend, or the file predicts something else.
    """
    out = locations.local_path(out, "--out")
    formats.check(format, out)
    if config is not None and (workdir / "config.json").exists():  # else there is none to load
        config_check.check_config(config, workdir)
    # float32 as it is, which GPUs round in products, and no device that a training run may hold
    jax.config.update("jax_platforms", "cpu")
    trained = open_workdir(workdir, stage, select)
    console.say(
        f"{workdir}: stage {trained.stage}, step {trained.step}, {len(trained.class_names)} classes"
    )
    written = formats.export(trained, format, out)
    console.say(_describe(written.contract, format))
    console.say(
        f"parity with predict on {parity.COUNT} pictures: probabilities differ by at most"
        f" {written.difference:.1e} (allowed: {parity.TOLERANCE:.0e})"
    )
    console.say(f"written: {out} ({written.bytes / 1e6:.1f} MB)")
    if format == "stablehlo":
        console.say(f'open it with dajax.load("{out}").predict(images)')


def _describe(contract, name):
    """What goes in and what comes out, in a line."""
    if name == "safetensors":
        return "weights in torch's names, with the target's normalisation"
    _, height, width, channels = contract["input"]["shape"]
    shape = f"[batch, {height or 'height'}, {width or 'width'}, {channels}]"
    return f"images uint8 {shape} -> {', '.join(contract['outputs'])}"
