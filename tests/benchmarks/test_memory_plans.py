"""The benchmark of memory plans asks for the recipes and the batches that a run has."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import recipes
import tiny
from ml_collections import ConfigDict

from benchmarks import batch_shapes, memory_plans


def test_every_recipe_of_a_paper_is_planned():
    """The two that compare methods have none of their own."""
    assert {name for name, _ in memory_plans.RECIPES} == set(recipes.NAMES) - {
        "compare_cls",
        "compare_seg",
    }


def test_shapes_are_those_of_plcas_two_micro_batches():
    _, config, name = next(memory_plans.cases("plca"))
    parts = memory_plans.METHODS["plca"].plan(
        None, data=batch_shapes.Shapes(config, 19), config=config[name]
    )
    assert {part: parts[part]["image"].shape for part in parts} == {
        "source": (8, 730, 730, 3),
        "target": (8, 730, 730, 3),
    }
    assert parts["source"]["label"].shape == (8, 730, 730)
    assert parts["source"]["label"].dtype == jnp.int32 and "label" not in parts["target"]


def test_cans_batches_are_of_ten_classes():
    _, config, name = list(memory_plans.cases("can office31"))[-1]
    state = ConfigDict(
        dict(extra=dict(pseudo_labels=np.zeros(3), kept_classes=np.ones(31), loop_start=0, loop=0))
    )
    parts = memory_plans.METHODS["can"].plan(
        state, data=batch_shapes.Shapes(config, 31), config=config[name]
    )
    rows = {part: (parts[part]["image"].shape, "label" in parts[part]) for part in parts}
    assert rows == {
        "source": ((30, 224, 224, 3), True),
        "class_source": ((30, 224, 224, 3), True),
        "class_target": ((30, 224, 224, 3), False),
    }


@pytest.mark.slow
def test_a_plan_is_printed():
    command = [sys.executable, "benchmarks/memory_plans.py", "--only=dan office31"]
    done = subprocess.run(
        command, cwd=tiny.ROOT, env=tiny.environment(), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("| dan "))
    held, working, needed = map(float, row.split(" | ")[2:5])
    assert 0.2 < held < working < needed


def test_a_gpus_plan_asks_for_its_compiler(monkeypatch, capsys):
    def absent(*_, **__):
        raise NotImplementedError("topology not implemented for cuda")  # of JAX without jax[cuda]

    monkeypatch.setattr(memory_plans.topologies, "get_topology_desc", absent)
    for name in ("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "XLA_FLAGS"):  # what it sets is taken back
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("sys.argv", ["memory_plans.py", "--gpu", "--only=dan office31"])
    with pytest.raises(SystemExit) as ended:
        memory_plans.main()
    last = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert "--gpu: needs XLA's compiler for GPUs" in last and "jax[cuda13]" in last
