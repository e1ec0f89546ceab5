"""Any setting of a recipe can be said on the command line, and says nothing of another one."""

import pytest
import recipes
from ml_collections import ConfigDict

from dajax.cli import recipe as command_line


@pytest.mark.parametrize("name", recipes.NAMES)
def test_what_is_none_can_be_set_and_each_alone(name):
    absent = [
        key for key, value in recipes.values(recipes.get_config(name)).items() if value is None
    ]
    wanted = {key: (number, number + 1) for number, key in enumerate(absent)}
    words = [f"--config.{key}={value}" for key, value in wanted.items()]
    found = recipes.values(command_line.read(f"configs/{name}.py", words))
    assert absent and {key: found[key] for key in absent} == wanted


@pytest.mark.parametrize("name", recipes.NAMES)
def test_no_two_groups_of_settings_are_one(name):
    seen = {}

    def visit(tree, path):
        before = seen.setdefault(id(tree), path)
        assert before == path, f"{before} and {path} are one: a flag for one sets the other, too"
        for key, value in tree.items():
            if isinstance(value, ConfigDict):
                visit(value, f"{path}.{key}")

    visit(recipes.get_config(name), "config")
