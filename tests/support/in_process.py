"""Whole runs through the engine within a test's own process: a recipe's config, a network that
compiles at once, every checkpoint read back.
"""

import contextlib
import json
import shutil

import jax
import numpy as np
import tiny
from absl.testing import flagsaver
from jax.experimental.compilation_cache import compilation_cache
from toy_classifier import TwoHeads

from dajax.cli import command
from dajax.engine import checkpoint, stages
from dajax.recipes import can


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
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
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
