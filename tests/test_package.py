"""`pip install .`: a wheel of the sources gives `import dajax`, the command `dajax` and the
recipes by name, from a folder that is no checkout.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tomllib
import venv

import pytest
import tiny

import dajax

PROJECT = tomllib.loads((tiny.ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed():
    """What is not listed is not in the wheel."""
    folders = {
        path.parent.relative_to(tiny.ROOT)
        for package in ("dajax", "data_pipeline", "configs")
        for path in (tiny.ROOT / package).rglob("*.py")
    }
    names = {".".join(folder.parts) for folder in folders}
    recipes = {name.replace("configs", "dajax.recipes", 1) for name in names if "configs" in name}
    expected = {name for name in names if "configs" not in name} | recipes
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == expected


def test_requirements_are_said_once():
    """The extras hold no other bounds than the files that README installs."""
    extras = PROJECT["project"]["optional-dependencies"]
    tests = (tiny.ROOT / "tests" / "requirements.txt").read_text().split()[2:]  # after -r FILE
    cuda = (tiny.ROOT / "requirements.txt").read_text().split()
    assert set(tests) <= set(extras["dev"])
    assert set(extras["notebook"]) <= set(tests) and set(extras["cuda"]) <= set(cuda)


def build(folder):
    """The wheel of a copy of the sources; building leaves nothing in the checkout."""
    copy = folder / "copy"
    for name in ("dajax", "data_pipeline", "configs"):
        shutil.copytree(tiny.ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "requirements-cpu.txt"):
        shutil.copy(tiny.ROOT / name, copy / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "-w",
        str(folder),
        str(copy),
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = folder.glob("dajax-*.whl")
    assert dajax.__version__ in wheel.name
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_works_without_a_checkout(wheel, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True)
    command = site / "bin" / "dajax"
    environment = tiny.environment() | {"PYTHONPATH": str(site)}

    def call(*words):
        return subprocess.run(
            [str(command), *words], cwd=empty, env=environment, capture_output=True, text=True
        )

    shown = call("--config=can:office31,root=/data,weights=none", "--mode=show")
    assert shown.returncode == 0, shown.stderr
    assert "config.can.optimizer.lr = 0.001" in shown.stdout.splitlines()
    wrong = call("--config=cann")
    assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1 and "recipes: " in wrong.stderr
    where = (
        "import dajax, data_pipeline, dajax.recipes as r; print(dajax.__file__, list(r.__path__))"
    )
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=empty, env=environment, capture_output=True, text=True
    )
    assert str(site / "dajax") in found.stdout and str(tiny.ROOT) not in found.stdout, found
    assert not list(empty.iterdir())


@pytest.mark.slow
def test_a_fresh_environment_trains_from_an_empty_folder(wheel, tmp_path):
    """Minutes: installs the dependencies, and runs the main job in small."""
    venv.create(tmp_path / "venv", with_pip=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    scripts = pathlib.Path(tmp_path, "venv", "bin")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([scripts / "pip", "install", "-q", str(wheel)], check=True, env=environment)
    flags = [flag for flag in tiny.TINY if not flag.startswith("--config=")]
    result = subprocess.run(
        [scripts / "dajax", "--config=can", *flags],
        cwd=empty, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "accuracy" in result.stdout.splitlines()[-2]
    assert (empty / "runs" / "can-digits-seed0" / "results.json").exists()
