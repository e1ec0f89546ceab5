"""A run of the real command line that takes seconds: the default recipe with a handful of steps."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]

TINY = (
    "--config=configs/can.py",
    "--config.data.per_class=12",
    "--config.model.widths=(4, 8, 16)",
    "--config.source_only.steps=12",
    "--config.source_only.batch_size=16",
    "--config.can.batch_size=16",
    "--config.can.max_loops=3",
    "--config.can.class_aware.update_fraction=0.1",
    "--config.can.clustering.batch_size=256",
    "--config.evaluation.reestimate_batches=0",
    "--config.runtime.log_every=2",
    "--config.runtime.checkpoint_every=5",
    "--config.runtime.report_seconds=0.5",
)


# One cache of compiled programs for all runs of a test session, as users have by default.
CACHE = os.environ["DAJAX_TESTS_CACHE"]


def words(workdir, *flags):
    """What follows run.py on the command line of a tiny run."""
    cache = f"--config.runtime.compilation_cache={CACHE}"
    return [*TINY, cache, f"--workdir={workdir}", *flags]


def command(workdir, *flags):
    """The argument list of a tiny run in a process of its own."""
    return [sys.executable, "run.py", *words(workdir, *flags)]


def environment():
    """The tests' environment, for a child on the CPU."""
    return os.environ | {"JAX_PLATFORMS": "cpu"}


def run(workdir, *flags, check=True):
    """Runs to the end; the CompletedProcess, output as text."""
    result = subprocess.run(
        command(workdir, *flags), cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


def final_state(workdir, stage):
    """{path: array} of a stage's last checkpoint."""
    import jax

    from dajax.engine import checkpoint

    tree, _ = checkpoint.read(pathlib.Path(workdir) / stage / "checkpoints")
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def assert_same_outcome(a, b):
    """Bit-identical parameters, metrics and results of two workdirs."""
    a, b = pathlib.Path(a), pathlib.Path(b)
    for stage in ("source_only", "can"):
        left, right = final_state(a, stage), final_state(b, stage)
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=f"{stage}: {name}")
        assert (a / stage / "metrics.jsonl").read_text() == (
            b / stage / "metrics.jsonl"
        ).read_text()
    assert (
        json.loads((a / "results.json").read_text())["stages"]
        == json.loads((b / "results.json").read_text())["stages"]
    )
