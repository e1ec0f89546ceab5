"""The house rules that a machine can check: who may import whom, and what must import where
TensorFlow is absent.
"""

import ast
import pathlib
import subprocess
import sys

import pytest
import tiny

# Rooms and single modules, from the ground up. Each may import what stands on a lower floor, and
# its own room. Rooms of one floor do not know each other.
FLOORS = {
    "dajax": (
        {"errors", "typing", "process_watch"},
        {"settings", "label_free"},
        {"learning_rate"},
        {"state", "schedule", "optim", "parallel"},
        {"console", "ops"},
        {"processes"},
        {"joining"},
        {"analysis"},
        {"losses", "models"},
        {"methods"},
        {"tasks"},
        {"engine"},
        {"trained", "recipes"},
        {"open_workdir"},
        {"predict", "export"},
        {"report"},
        {"cli", "__init__"},
        {"__main__"},
    ),
    "data_pipeline": (
        {"errors", "sampling", "png_chunks"},
        {"files", "held_out", "preprocess", "stream"},
        {"pixels", "appearance", "batch_parts"},
        {"decode"},
        {"given"},
        {"classification", "segmentation"},
        {"digits", "scenes"},
        {"check", "sources"},
        {"__init__"},
    ),
}
# Rooms of dajax with a room for each task, which do not know each other either.
OF_BOTH_TASKS = ("methods", "tasks")
TASKS = {"classification", "segmentation"}
SAVED_MODEL = pathlib.Path("dajax/export/savedmodel.py")
READS_DATA = {"tasks", "trained", "open_workdir", "predict", "export", "report", "cli"}

FILES = [
    path.relative_to(tiny.ROOT)
    for package in FLOORS
    for path in sorted((tiny.ROOT / package).rglob("*.py"))
]


def imports(path):
    """Dotted names of everything a file imports, also inside functions, with what `from x import
    y` takes: "x.y".
    """
    for node in ast.walk(ast.parse((tiny.ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(package, room):
    """Number of the floor on which a room stands."""
    for number, rooms in enumerate(FLOORS[package]):
        if room in rooms:
            return number
    raise AssertionError(f"{package}.{room} stands on no floor: add it to FLOORS")


def is_room(package, name):
    """Whether a name of a package is a folder or a file, and not something in its __init__."""
    path = tiny.ROOT / package / name
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_there_are_files_to_check():
    """An empty list of cases would be skipped without a word."""
    assert len(FILES) > 100 and {path.parts[0] for path in FILES} == set(FLOORS)


def test_every_room_of_the_floors_exists():
    for package, floors in FLOORS.items():
        for room in set().union(*floors):
            assert is_room(package, room), f"{package}.{room}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_follow_the_floors(path):
    package, *inside = path.with_suffix("").parts
    room = inside[0]
    own = floor(package, room)
    for name in imports(path):
        top, *rest = name.split(".")
        if top == package and is_room(package, rest[0]):
            lower = floor(package, rest[0]) < own
            assert lower or rest[0] == room, f"{path} imports {name}, which does not stand below it"
        if top == "data_pipeline" and package == "dajax":
            assert room in READS_DATA, f"{path} imports {name}"
        assert not (top == "dajax" and package == "data_pipeline"), f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_neither_tasks_rooms_know_the_other(path):
    mine = TASKS & set(path.parts)
    if not mine:
        return
    package = path.parts[0]
    (other,) = TASKS - mine
    for name in imports(path):
        parts = name.split(".")
        in_rooms = package == "data_pipeline" or parts[1:2] and parts[1] in OF_BOTH_TASKS
        assert not (in_rooms and other in parts[1:3]), f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_heavy_libraries_stay_where_they_belong(path):
    package, room, *_ = path.with_suffix("").parts
    for name in imports(path):
        top = name.split(".")[0]
        if package == "data_pipeline":
            assert top not in ("jax", "flax"), f"{path} imports {name}"
            continue
        # export writes TensorFlow's format, and imports it there alone
        assert top != "tensorflow" or path == SAVED_MODEL, f"{path} imports {name}"
        assert top != "torch" or room == "models", f"{path} imports {name}"
        if room in ("losses", "ops"):
            assert top not in ("flax", "orbax"), f"{path}: a pure function imports {name}"
        assert not name.startswith("flax.linen") or room == "models", f"{path} imports {name}"


def test_methods_do_not_import_each_other():
    """What several need stands in interface.py or a file whose name begins with _."""
    rooms = [path for path in FILES if path.parts[:2] == ("dajax", "methods")]
    methods = {path.stem for path in rooms if not path.stem.startswith("_")} - {"interface"}
    for path in rooms:
        for name in imports(path) if path.stem != "__init__" else ():
            in_methods = name.startswith("dajax.methods.")
            assert not (in_methods and methods & set(name.split(".")[2:])), f"{path}: {name}"


def test_dajax_imports_where_tensorflow_and_what_draws_are_absent():
    program = """
import sys
for name in ("tensorflow", "matplotlib", "sklearn"):
    sys.modules[name] = None  # any import of it now fails
import dajax, dajax.engine.train, dajax.engine.stages, dajax.open_workdir, dajax.methods
import data_pipeline, dajax.export.formats, dajax.predict.run, dajax.report.write
from dajax.losses import cdd
"""
    subprocess.run(
        [sys.executable, "-c", program], cwd=tiny.ROOT, env=tiny.environment(), check=True
    )


def test_importing_dajax_is_cheap():
    program = (
        "import sys, dajax\n"
        "found = {'jax', 'flax', 'orbax', 'tensorflow', 'jaxtyping'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run(
        [sys.executable, "-c", program], cwd=tiny.ROOT, env=tiny.environment(), check=True
    )
