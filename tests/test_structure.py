"""The house rules that a machine can check: who may import whom, and what must import where TensorFlow is absent."""

import ast
import subprocess
import sys

import pytest

import tiny

FILES = sorted((tiny.ROOT / "dajax").rglob("*.py")) + sorted((tiny.ROOT / "data_pipeline").rglob("*.py"))

# Package or module of dajax -> what it may import of dajax. `errors` and `state` are open to all.
ALLOWED = {
    "losses": {"losses"},
    "ops": {"ops", "losses"},
    "models": {"models", "ops", "parallel", "log"},
    "methods": {"methods", "losses", "ops", "models", "optim", "parallel", "schedule"},
    "parallel": set(), "optim": set(), "schedule": set(), "log": {"storage"}, "errors": set(), "state": set(), "signals": set(), "standard_streams": set(),
    "storage": set(), "checksums": set(), "checkpoint": {"checksums", "storage", "log"},
    "feed": {"parallel"}, "seg_feed": {"parallel", "log"}, "report": set(),
    "config_check": {"log", "json_files", "old_config"}, "old_config": set(),
    "json_files": set(), "locations": set(), "config_ranges": set(), "failures": set(),
    "environment": {"log", "json_files"},
    "evaluate": {"models", "ops"}, "evaluate_segmentation": {"models", "ops", "parallel"},
    "tasks": {"tasks", "feed", "seg_feed", "evaluate", "evaluate_segmentation", "models", "report", "log"},
    "memory": {"log"},
    "train": {"log", "memory", "parallel", "checkpoint", "evaluate", "schedule", "signals"},
    "stages": {
        "train", "tasks", "checkpoint", "log", "parallel", "report", "config_check", "config_ranges", "environment", "json_files", "locations",
        "methods", "signals",
    },
    "check_data": {"tasks", "log"},
    "recipe": set(), "sweep_tables": set(),
    "sweep_plan": {"recipe", "config_check", "config_ranges", "json_files", "locations"},
    "sweep": {"sweep_plan", "sweep_tables", "log", "signals"},
    "inference": {"checkpoint", "json_files", "log", "models", "old_config", "ops"},
    "__init__": {"inference"},
}


def imports(path):
    """Dotted names of everything a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" if node.module == "dajax" else node.module for alias in node.names)


def test_there_are_files_to_check():
    """An empty list of cases would be skipped without a word."""
    assert len(FILES) > 100 and {path.parts[len(tiny.ROOT.parts)] for path in FILES} == {"dajax", "data_pipeline"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(tiny.ROOT)))
def test_imports_follow_the_design(path):
    package, *inside = path.relative_to(tiny.ROOT).with_suffix("").parts
    for name in imports(path):
        top, *rest = name.split(".")
        if package == "data_pipeline":
            assert top not in ("jax", "dajax", "flax"), f"{path}: data_pipeline imports {name}"
            continue
        assert top not in ("tensorflow", "torch") or inside[0] == "models", f"{path} imports {name}"
        if inside[0] in ("losses", "ops"):
            assert top not in ("flax", "orbax", "tensorflow"), f"{path}: a pure function imports {name}"
        assert not name.startswith("flax.linen") or inside[0] == "models", f"{path}: only dajax.models knows flax.linen"
        if top == "data_pipeline":
            assert inside[0] in ("feed", "seg_feed", "tasks", "check_data", "inference", "failures"), f"{path}: imports {name}"
        if top == "dajax" and rest and rest[0] not in ("errors", "state"):
            assert rest[0] in ALLOWED[inside[0]], f"{path}: {inside[0]} must not import {name}"
    methods = {p.stem for p in (tiny.ROOT / "dajax" / "methods").glob("*.py")} - {"__init__"}
    if inside[:1] == ["methods"] and inside[1] != "__init__":
        assert not [name for name in imports(path) if name.split(".")[-1] in methods and "methods" in name], "methods do not import each other"


def test_dajax_imports_where_tensorflow_is_absent(tmp_path):
    program = """
import sys
sys.modules["tensorflow"] = None  # any import of it now fails
import dajax, dajax.train, dajax.stages, dajax.inference, dajax.methods, data_pipeline
from dajax.losses import cdd
"""
    subprocess.run([sys.executable, "-c", program], cwd=tiny.ROOT, env=tiny.environment(), check=True)


def test_importing_dajax_is_cheap():
    program = "import sys, dajax; assert not {'jax', 'flax', 'orbax', 'tensorflow'} & set(sys.modules), 'a heavy import'"
    subprocess.run([sys.executable, "-c", program], cwd=tiny.ROOT, env=tiny.environment(), check=True)
