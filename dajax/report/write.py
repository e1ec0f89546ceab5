"""`--mode=analyze`: workdirs in, a page and its figures out."""

import re

import numpy as np

from dajax import __version__, console
from dajax.analysis import figures, html, optional
from dajax.analysis.html import Picture
from dajax.engine.environment import use_compilation_cache
from dajax.engine.run_output import headline_figure
from dajax.report import sections
from dajax.report.context import Context
from dajax.report.out_folder import ReportFolder
from dajax.report.runs import open_runs
from dajax.report.show import picture_width, png_of

PAGE, FOLDER = "report.html", "figures"


def analyze(workdirs, out, *, configs=None, stage=None, samples):
    """Writes the report of one workdir, or of several side by side.

    Args:
      workdirs: list of paths.
      out: folder for the report.
      configs: see runs.open_runs.
      stage: name of the only stage whose network is looked at; None as in context.Context.
      samples: images of each domain that the networks see.

    Returns:
      pathlib.Path of the page.

    Raises:
      UserError, DataError: a mistake that the user can mend.
    """
    optional.load("matplotlib")  # before an hour of work
    folder = ReportFolder(out)
    runs = open_runs(workdirs, configs)
    use_compilation_cache(runs[0].config.runtime.compilation_cache)
    context = Context(runs, stage, samples)
    folder.path.mkdir(parents=True, exist_ok=True)  # where that fails, now
    for network in context.networks:
        console.say(
            f"{network.run.workdir}: stage {network.stage.name}, step {network.trained.step}"
        )
    for run in runs:
        if run.data_problem:
            console.say(f"{run.workdir}: its images cannot be read: {run.data_problem}")
    made, left_out = sections.made(context)
    shown = [block for part in made for block in part.blocks if isinstance(block, Picture)]
    names = file_names([picture.name for picture in shown])
    files, pictures = {}, {}
    for picture in shown:
        path, png = f"{FOLDER}/{names[picture.name]}", png_of(picture.figure)
        files[f"{path}.png"] = png
        pictures[picture.name] = png, picture_width(picture.figure)
        if not isinstance(picture.figure, np.ndarray):
            files[f"{path}.pdf"] = figures.encoded(picture.figure, "pdf")
    page = html.page(
        title=" and ".join(dict.fromkeys(run.config.name for run in runs)),
        subtitle="  ".join(str(run.workdir) for run in runs),
        cards=_cards(context),
        sections=made,
        left_out=left_out,
        pictures=pictures,
        footer=f"Written by dajax {__version__}, run.py --mode=analyze.",
    )
    files[PAGE] = page.encode()
    folder.write(files, {"workdirs": [str(run.workdir) for run in runs]})
    for title, why in left_out:
        console.say(f"left out: {title}: {why}")
    console.say(f"written: {folder.path / PAGE} and {len(files) - 1} figures")
    return folder.path / PAGE


def file_names(names):
    """{name of a picture: name of its file, without an ending}: a stage may be called anything."""
    found = {}
    for name in names:
        plain = re.sub(r"[^\w.-]+", "_", name)
        taken = sum(plain == re.sub(r"-\d+$", "", other) for other in found.values())
        found[name] = f"{plain}-{taken + 1}" if taken else plain
    return found


def _cards(context):
    """[(name, value, more)], the headline figure of each stage that has one."""
    key, title = headline_figure(context.runs[0].config)
    found = []
    for stage in context.stages:
        if stage.is_measured and stage.result.get(key) is not None:
            more = f"{title} after step {stage.result['step']:,}"
            found.append((stage.label, f"{stage.result[key]:.1f} %", more))
    return found
