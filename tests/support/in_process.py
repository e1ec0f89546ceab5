"""Whole runs within a test's own process: the command line as a child process would run it, some
five seconds of CPU sooner; or the engine alone, with a network that compiles at once. Every
checkpoint read back.
"""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from unittest import mock

import jax
import numpy as np
import tiny
from absl import app, logging
from absl.testing import flagsaver
from jax.experimental.compilation_cache import compilation_cache
from toy_classifier import TwoHeads

from dajax.cli import command
from dajax.engine import checkpoint, stages
from dajax.recipes import can

# What tests/conftest.py makes stricter, as JAX has it by default.
DEFAULTS = {
    "jax_numpy_rank_promotion": "allow",
    "jax_numpy_dtype_promotion": "standard",
    "jax_default_matmul_precision": None,
}
app.define_help_flags()  # absl defines them once a process, and a flagsaver would forget them


class Flat(TwoHeads):
    """Two dense layers on the pixels: what CAN compiles in a quarter of the time."""

    def __call__(self, images, mode):
        return super().__call__(images.reshape(len(images), -1), mode)


def flat(config_model, stage_config, num_classes):
    """In place of models.build.build_model."""
    del config_model
    return Flat(num_classes, (8, 6), num_domains=stage_config.target_bn + 1, stops=False)


def shallow(build):
    """build_segmenter with one residual block of four channels in place of all."""

    def built(*args, **kwargs):
        model = build(*args, **kwargs)
        return model.clone(
            backbone=model.backbone.clone(stage_sizes=(1,), widths=(4,), strides=(), dilations=())
        )

    return built


def two_stages(**changes):
    """CAN's source-only stage on few digits, three steps, and three more of the same from where it
    ended.
    """
    config = can.get_config()
    config.again = config.source_only.copy_and_resolve_references()
    config.stages, config.again.init_from = ("source_only", "again"), "source_only"
    config.update_from_flattened_dict(
        {
            "data.per_class": 2,
            "source_only.steps": 3,
            "source_only.batch_size": 8,
            "again.steps": 3,
            "again.batch_size": 8,
            "evaluation.reestimate_batches": 0,
            "runtime.eval_batch_size": 600,
            **changes,
        }
    )
    return config


@contextlib.contextmanager
def compiled_programs_kept():
    """Runs within share compiled programs through the session's cache; afterwards JAX is set as
    before.
    """
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs", *DEFAULTS)
    before = {name: getattr(jax.config, name) for name in names}
    compilation_cache.reset_cache()  # jax decides once a process whether it has one
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def run(config, workdir, mode="train"):
    """Trains on one device, a checkpoint after every step, or evaluates."""
    config.update_from_flattened_dict(
        {
            "runtime.devices": 1,
            "runtime.checkpoint_every": 1,
            "runtime.keep_checkpoints": 1000,
            "runtime.log_every": 1,
            "runtime.report_seconds": 1000.0,
            "runtime.compilation_cache": tiny.CACHE,
        }
    )
    stages.run(config, workdir, mode)


def command_line(*words):
    """Runs `run.py WORDS`; its exit status, or the line that it ends with."""
    with flagsaver.flagsaver():
        try:
            command._parse_flags(["run.py", *words])
            command.main(None)
        except SystemExit as end:
            return end.code
    return 0


def process(words):
    """`python run.py WORDS` without a process of its own: JAX is set as users have it, one of the
    four devices is used unless WORDS name a number, and JAX's cache of compiled programs is kept.

    Figures may differ in their last bits from those of a child, whose CPU is a single device.

    Returns:
      A subprocess.CompletedProcess: the exit status, and as text what went to standard output and
      to standard error.
    """
    if not any(word.startswith("--config.runtime.devices=") for word in words):
        words = [*words, "--config.runtime.devices=1"]
    update = jax.config.update

    def update_but_devices(name, value):  # JAX has made its four, and refuses another number
        if name != "jax_num_cpu_devices":
            update(name, value)

    argv = ["run.py", *words]
    output = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    errors = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    with (
        contextlib.chdir(tiny.ROOT),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        mock.patch.object(logging.get_absl_handler().python_handler, "stream", errors),
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(sys, "orig_argv", [sys.executable, *argv]),
        mock.patch.object(jax.config, "update", update_but_devices),
        compiled_programs_kept(),
        flagsaver.flagsaver(),
    ):
        for name, value in DEFAULTS.items():
            update(name, value)
        try:
            command.run()
        except SystemExit as end:
            status = end.code
    if isinstance(status, str):  # as Python ends with sys.exit("error: ...")
        errors.write(f"{status}\n")
        status = 1
    said = (stream.buffer.getvalue().decode() for stream in (output, errors))
    return subprocess.CompletedProcess(argv, status or 0, *said)


def checked(result):
    """The CompletedProcess of a run that has succeeded."""
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def states(directory):
    """{step: {path: array}} of every checkpoint of a stage's directory."""
    folder, alone, found = directory / "checkpoints", directory / "alone", {}
    for step in sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()):
        shutil.copytree(
            folder,
            alone,
            ignore=lambda _, names, step=step: [x for x in names if x.isdigit() and x != str(step)],
        )
        tree, _ = checkpoint.read(alone)
        found[step] = {
            jax.tree_util.keystr(path): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        shutil.rmtree(alone)
    return found


def assert_same_states(one, other):
    """Of two runs, {stage: states}: the same stages, steps, arrays and bits."""
    assert one.keys() == other.keys() and one
    for stage in one:
        assert one[stage].keys() == other[stage].keys() and one[stage]
        for step, leaves in one[stage].items():
            assert leaves.keys() == other[stage][step].keys()
            for name, leaf in leaves.items():
                np.testing.assert_array_equal(
                    leaf, other[stage][step][name], err_msg=f"{stage}, step {step}: {name}"
                )


def metrics(workdir, stage):
    """The lines of a stage's metrics.jsonl."""
    return [
        json.loads(line) for line in (workdir / stage / "metrics.jsonl").read_text().splitlines()
    ]
