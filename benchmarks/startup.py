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

from benchmarks.cases import Case, run_of
from benchmarks.race import Prepared

TITLE = "command to the first step, compilation cold and cached"
MINUTES = 2
NEEDS = ("tensorflow", "ml_collections", "orbax")

ROOT = pathlib.Path(__file__).resolve().parents[1]
RECIPE, STAGE = "configs/can.py", "source_only"  # README's first command
LIMIT = 280  # seconds until a first step, on a busy machine
IMPORTS = "import jax, flax, optax, orbax.checkpoint, tensorflow, ml_collections"


def cases(folder, is_quick):
    """See groups.py."""
    del is_quick  # there is no smaller run
    contenders = {
        "imports": imports,
        "cached": functools.partial(first_step, is_cached=True),
        "cold": functools.partial(first_step, is_cached=False),
    }
    settings = dict(folder=str(folder))
    return [Case(RECIPE, contenders, settings, repeats=3, warm_up=False)]


def imports(folder):
    del folder

    def run():
        subprocess.run([sys.executable, "-c", IMPORTS], check=True, env=_quiet())
        return {}

    return Prepared(lambda: run, is_command=True)


def _quiet():
    """The environment of a child, without a user's own cache of compiled programs."""
    kept = {key: x for key, x in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}
    return kept | {"TF_CPP_MIN_LOG_LEVEL": "3"}


def first_step(folder, is_cached):
    """A run that is ended after its first step; is_cached: an earlier one has filled the cache."""
    numbers = itertools.count()

    def run():
        workdir = pathlib.Path(folder, f"{is_cached}-{next(numbers)}")
        cache = pathlib.Path(folder, "cache" if is_cached else f"cache-{workdir.name}")
        command = run_of(RECIPE, STAGE, workdir, cache, log_every=1)
        log = pathlib.Path(f"{workdir}.log")
        with log.open("w") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=_quiet()
            )
            _wait_for(workdir / STAGE / "metrics.jsonl", process, log)
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
