"""From the command to the first step: the time until the first line of metrics.jsonl, of the real
command line, with an empty cache of compiled programs and with a full one.

"imports": a Python that imports what a run imports, and ends. Files are in the system's memory.
"""

import functools
import itertools
import os
import pathlib
import subprocess
import sys
import time

from benchmarks.cases import Case
from benchmarks.race import Prepared

TITLE = "command to the first step, compilation cold and cached"
MINUTES = 3
NEEDS = ("tensorflow", "ml_collections", "orbax")

ROOT = pathlib.Path(__file__).resolve().parents[1]
# {title: (recipe, its first stage, further flags)}; few scenes, which the first run draws
RUNS = {
    "can, digits": ("configs/can.py", "source_only", ()),
    "adaptsegnet, scenes": (
        "configs/adaptsegnet.py",
        "source_only",
        tuple(f"--config.data.scenes.{split}=16" for split in ("source", "target", "evaluation")),
    ),
}
LIMIT = 280  # seconds until a first step, on a busy machine
IMPORTS = "import jax, flax, optax, orbax.checkpoint, tensorflow, ml_collections"


def cases(folder, is_quick):
    """See groups.py."""
    runs = dict(itertools.islice(RUNS.items(), 1)) if is_quick else RUNS
    found = []
    for title, (recipe, stage, flags) in runs.items():
        contenders = {
            "imports": imports,
            "cached": functools.partial(first_step, is_cached=True),
            "cold": functools.partial(first_step, is_cached=False),
        }
        settings = dict(folder=str(folder), recipe=recipe, stage=stage, flags=flags)
        found.append(Case(title, contenders, settings, repeats=2, warm_up=False))
    return found


def imports(folder, recipe, stage, flags):
    del folder, recipe, stage, flags

    def run():
        subprocess.run([sys.executable, "-c", IMPORTS], check=True, env=_quiet())
        return {}

    return Prepared(lambda: run, is_command=True)


def _quiet():
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}


def first_step(folder, recipe, stage, flags, is_cached):
    """A run that is ended after its first step; is_cached: an earlier one has filled the cache."""
    numbers = itertools.count()

    def run():
        number = next(numbers)
        workdir = pathlib.Path(folder, f"{pathlib.Path(recipe).stem}-{is_cached}-{number}")
        cache = pathlib.Path(folder, "cache" if is_cached else f"cache-{workdir.name}")
        command = [
            sys.executable,
            "run.py",
            f"--config={recipe}",
            f"--workdir={workdir}",
            f"--config.stages=('{stage}',)",
            "--config.runtime.log_every=1",
            f"--config.runtime.compilation_cache={cache}",
            *(
                ["--config.data.scenes.root=" + str(pathlib.Path(folder, "scenes"))]
                if flags
                else []
            ),
            *flags,
        ]
        log = pathlib.Path(f"{workdir}.log")
        with log.open("w") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=_quiet()
            )
            _wait_for(workdir / stage / "metrics.jsonl", process, log)
        return {}

    def filled():
        if is_cached:
            run()
        return run

    return Prepared(filled, is_command=True)


def _wait_for(path, process, log):
    """Until a file has a line; then ends the process.

    Raises:
      RuntimeError: the process ended before, or took too long.
    """
    deadline = time.monotonic() + LIMIT
    while not (path.exists() and path.stat().st_size):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise RuntimeError(f"no first step:\n{log.read_text()[-2000:]}")
        time.sleep(0.02)
    process.kill()
    process.wait()
