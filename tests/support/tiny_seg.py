"""A segmentation run of the real command line that takes seconds: few scenes, a small network."""

import subprocess
import sys

import tiny

NETWORK = (
    "--config.model.widths=(4,4,8,8)",
    "--config.model.aspp_branches=2",
    "--config.model.aspp_rates=(1,2)",
)
SMALL = (
    "--config.data.scenes.source=12",
    "--config.data.scenes.target=12",
    "--config.data.scenes.evaluation=5",
    "--config.runtime.log_every=1",
    "--config.evaluation.reestimate_batches=2",
    "--config.evaluation.agreement_batches=1",
    "--config.evaluation.num_pictures=2",
    "--config.runtime.eval_batch_size=4",
)


def command(workdir, scenes, *flags, recipe="clan"):
    """The argument list of a tiny run; `scenes` is where the scenes are drawn."""
    common = (
        f"--workdir={workdir}",
        f"--config.data.scenes.root={scenes}",
        f"--config.runtime.compilation_cache={tiny.CACHE}",
    )
    return [
        sys.executable,
        "run.py",
        f"--config=configs/{recipe}.py",
        *common,
        *SMALL,
        *NETWORK,
        *flags,
    ]


def run(*args, check=True, **kwargs):
    """Runs `command` to the end; the CompletedProcess, output as text."""
    result = subprocess.run(
        command(*args, **kwargs),
        cwd=tiny.ROOT,
        env=tiny.environment(),
        capture_output=True,
        text=True,
    )
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result
