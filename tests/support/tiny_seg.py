"""A segmentation run of the real command line that takes seconds: few scenes, a small network."""

import subprocess
import sys

import in_process
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


def words(workdir, scenes, *flags, recipe="clan"):
    """What follows run.py on the command line of a tiny run; `scenes` is where the scenes are
    drawn.
    """
    common = (
        f"--workdir={workdir}",
        f"--config.data.scenes.root={scenes}",
        f"--config.runtime.compilation_cache={tiny.CACHE}",
    )
    return [f"--config=configs/{recipe}.py", *common, *SMALL, *NETWORK, *flags]


def command(*args, **kwargs):
    """The argument list of a tiny run in a process of its own."""
    return [sys.executable, "run.py", *words(*args, **kwargs)]


def run(*args, **kwargs):
    """Runs `command` to the end, in a process of its own; the CompletedProcess, output as text."""
    return in_process.checked(
        subprocess.run(
            command(*args, **kwargs),
            cwd=tiny.ROOT,
            env=tiny.environment(),
            capture_output=True,
            text=True,
        )
    )


def run_here(*args, **kwargs):
    """The same within the test's own process, to a mistake too."""
    return in_process.process(words(*args, **kwargs))
