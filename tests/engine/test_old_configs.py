"""Workdirs of the version before (commit e85cdea): each default recipe's config.json of that
version, written by its `run.py`, goes on here, or is refused by the keys whose numbers have changed
since.
"""

import json
import re

import pytest
import tiny

from dajax.cli import recipe
from dajax.engine import old_config
from dajax.engine.config_check import FREE_KEY, check_config, flatten
from dajax.errors import UserError
from dajax.recipes.base import common as base

BEFORE = json.loads((tiny.ROOT / "tests" / "golden" / "configs_of_e85cdea.json").read_text())
# What the published settings have changed since (issue 11, section A7: the heads of the library
# whose figures these recipes are compared with).
# CAN's default on digits and folders: clusterings twice as often, filters, a moving average,
# fewer classes a step.
CANS = (
    "max_loops",
    "class_aware.update_fraction",
    "class_aware.max_share",
    "teacher.momentum",
    "predict_with",
    "clustering.drop_contradicted",
    "clustering.min_agreement",
)
COMPARED, MSCANS = (
    ("can_weight0", "can_intra_only", "can"),
    ("can_merged", "mscan_without_bsa", "mscan"),
)
CHANGED = {
    "can.py": {f"can.{key}" for key in CANS},
    "compare_cls.py": {f"{row}.{key}" for row in COMPARED for key in CANS},
    "mscan.py": {f"{row}.{key}" for row in MSCANS for key in CANS}
    | {f"mscan.{key}" for key in ("weighting", "bsa_floor", "bsa_momentum")},
    "cdan.py": {"model.head_init"},
    "dan.py": {"model.bottleneck_norm", "model.dropout", "model.head_init"},
    "dann.py": {"model.head_init"},
    "jan.py": {"jan.joint_pass", "model.dropout", "model.head_init"},
    "mcd.py": {"model.dropout", "model.head_init"},
}


def test_every_default_recipe_of_that_version_is_here():
    """Recipes that are newer have no workdirs of it."""
    assert len(BEFORE) == 15
    assert set(BEFORE) <= {path.name for path in (tiny.ROOT / "configs").glob("*.py")}


@pytest.mark.parametrize("name", BEFORE)
def test_a_workdir_of_that_version_goes_on_or_is_refused_by_its_changed_keys(name, tmp_path):
    config = recipe.read(f"{tiny.ROOT}/configs/{name}", ())
    (tmp_path / "config.json").write_text(json.dumps(BEFORE[name]))
    if name not in CHANGED:
        assert check_config(config, tmp_path) == {}
        return
    with pytest.raises(UserError, match="use the same config, or another --workdir") as error:
        check_config(config, tmp_path)
    told = re.findall(r"([\w.]+)=\S+ there", str(error.value))
    more = re.search(r" and (\d+) more;", str(error.value))
    assert set(told) <= CHANGED[name] and "\n" not in str(error.value)
    assert len(told) + (int(more[1]) if more else 0) == len(CHANGED[name])


@pytest.mark.parametrize("name", BEFORE)
def test_every_key_that_is_new_since_has_the_value_of_that_version(name):
    """Else a workdir would be refused for a key that its user cannot set: "absent there"."""
    now = json.loads(recipe.read(f"{tiny.ROOT}/configs/{name}", ()).to_json())
    filled = old_config.with_added_keys(BEFORE[name])
    further = set(now["stages"]) - set(filled["stages"])  # at the end, and no other config
    asked = {key: value for key, value in now.items() if key not in (FREE_KEY, *further)}
    without = flatten(asked).keys() - flatten(filled).keys()
    if name == "mscan.py":  # of another default: the argument bsa=batch is the version before's
        without -= {"mscan.bsa_momentum"}
    assert not without, "add them to dajax/engine/old_config.py"


@pytest.mark.parametrize(
    "key, value",
    [("task", ["a"]), ("task", None), ("model", [1]), ("model", None), ("model", 3), ("can", None),
     ("can", {"method": ["can"]}), ("can", {"method": None}), ("can", []), ("stages", 3)],
)  # fmt: skip
def test_a_key_of_another_type_is_named_as_a_difference(key, value, tmp_path):
    config = recipe.read(f"{tiny.ROOT}/configs/can.py", ())
    (tmp_path / "config.json").write_text(json.dumps(json.loads(config.to_json()) | {key: value}))
    with pytest.raises(UserError, match=rf"another config: .*{key}[.\w]*="):
        check_config(config, tmp_path)


@pytest.mark.parametrize("method", ["bicl", "clan"])
def test_a_stage_without_the_group_of_a_new_key_stays_as_it_is(method):
    tree = {"task": "segmentation", "model": {}, "one": {"method": method}}
    filled = old_config.with_added_keys(tree)["one"]
    added = {"when_worse": "warn"} if method == "bicl" else {}
    assert filled == {"method": method, "norm_affine": "", **added, **base.NO_TEACHER}


def test_a_folders_views_were_none_and_go_on(tmp_path):
    """`affine` was None, and the other views were absent: keys that nobody could set."""
    arguments = "folder,root=DIR,source=a,target=b"
    config = recipe.read(f"{tiny.ROOT}/configs/can.py:{arguments}", ())
    old = json.loads(config.to_json())
    for key in ("appearance", "invert", "erase"):
        del old["data"]["transform"][key]
    old["data"]["transform"]["affine"] = None
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert check_config(config, tmp_path) == {}
    other = recipe.read(f"{tiny.ROOT}/configs/can.py:{arguments},affine=yes", ())
    with pytest.raises(UserError, match="data.transform.affine.rotate_rad=0.0 there, 0.25 now"):
        check_config(other, tmp_path)


def test_a_recipe_of_the_users_own_need_not_have_the_new_keys(tmp_path):
    config = recipe.read(f"{tiny.ROOT}/configs/can.py:folder,source=a,target=b", ())
    with config.unlocked():
        config.data.transform = {
            key: value
            for key, value in config.data.transform.to_dict().items()
            if key not in ("appearance", "invert", "erase")
        }
    (tmp_path / "config.json").write_text(config.to_json())
    assert check_config(config, tmp_path) == {}
