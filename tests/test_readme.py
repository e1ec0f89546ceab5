"""Every command that README shows exists: its file, its variant, its keys."""

import re
import shlex

import pytest
import tiny
from absl import flags
from ml_collections import config_flags

from dajax.cli import sweep_plan

README = (tiny.ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    (?:\S*python3? )(.*)$", README, re.M)
NAMES = [
    name
    for name in re.findall(
        r"`((?:dajax|configs|data_pipeline|tests|notebooks|benchmarks)/[\w./]*)`", README
    )
    if "NAME" not in name
]


def test_there_are_commands_and_names_to_check():
    """An empty list of cases would be skipped without a word."""
    recipes = [command for command in COMMANDS if command.startswith("run.py")]
    assert len(recipes) > 5 and [command for command in recipes if "--seeds=" in command]
    assert [
        command for command in COMMANDS if not command.startswith(("run.py", "-m venv"))
    ] and len(NAMES) > 3


def test_the_two_commands_are_its_first():
    first, second = re.findall(r"^    (.*)$", README, re.M)[:2]
    assert "-r requirements-cpu.txt" in first and first.endswith("run.py --config=configs/can.py")
    assert "-r tests/requirements.txt" in second and second.endswith("-m pytest tests -q")


@pytest.mark.parametrize(
    "command", [c.split("#")[0].strip() for c in COMMANDS if c.startswith("run.py")]
)
def test_its_recipes_parse(command):
    words = shlex.split(command)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values)
    values(
        [
            word
            for word in words
            if not word.startswith(("--config.", "--mode", "--seeds", "--tasks"))
        ]
    )
    config = values.config
    for word in words:
        if word.startswith("--config."):
            found = config
            for key in word[len("--config.") : word.index("=")].split("."):
                found = found[key]  # raises for a key that does not exist
    assert config.stages and all("method" in config[stage] for stage in config.stages)


@pytest.mark.parametrize(
    "command",
    [c.split("#")[0].strip() for c in COMMANDS if "--seeds=" in c and c.startswith("run.py")],
)
def test_its_sweeps_can_be_planned(command, tmp_path):
    given = dict(word[2:].split("=", 1) for word in shlex.split(command)[1:])
    runs = sweep_plan.plan(given["config"], given["seeds"], given.get("tasks"), (), tmp_path, 0)
    assert len(runs) == len(given["seeds"].split(",")) * len(given.get("tasks", "").split(";"))


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if not c.startswith(("run.py", "-m venv"))]
)
def test_its_scripts_exist(command):
    assert (tiny.ROOT / command.split()[0]).is_file()


def test_files_it_names_exist():
    for name in NAMES:
        assert (tiny.ROOT / name).exists(), name
