"""What is said of a stage before the first one begins: that its settings do not fit the data."""

import pytest
import toy_task
from ml_collections import ConfigDict

from dajax.errors import UserError
from dajax.methods import pseudo_labels
from dajax.recipes import cbst, fda
from dajax.settings import SettingError, check_classes


@pytest.fixture(autouse=True)
def task(monkeypatch):
    toy_task.install(monkeypatch)


def check_data(state, *, data, config, model):
    """Of a method that does not run at the rate 0.2."""
    assert state.params["net"]["w"].shape == (model.width,) and data.stage == "second"
    if config.rate == 0.2:
        raise SettingError("rate", config.rate, "does not fit the data; set it to 0.1")


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"second.rate": 0.2}, r"^config.second.rate=0.2: does not fit the data; set it to 0.1$"),
        ({"second.target_bn": 2}, r"^config.second.target_bn=2: expected 0 or 1: "),
    ],
)
def test_a_later_stage_that_does_not_fit_ends_the_run_before_the_first(
    monkeypatch, tmp_path, changes, says
):
    def check(state, *, data, **rest):
        return data.stage == "first" or check_data(state, data=data, **rest)

    monkeypatch.setattr(toy_task.METHOD, "check_data", check, raising=False)
    config = toy_task.config(**{"second.rate": 0.1})
    config.second.target_bn = 0
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=says):
        toy_task.run(config, tmp_path)
    assert not (tmp_path / "first").exists()


@pytest.mark.parametrize("function", ["plan", "train_step"])
def test_what_comes_out_in_a_stage_has_its_whole_key(monkeypatch, tmp_path, function):
    def refuse(*_, **__):
        raise SettingError("rate", 0.1, "is refused")

    monkeypatch.setattr(toy_task.METHOD, function, refuse)
    with pytest.raises(UserError, match=r"^config.first.rate=0.1: is refused$"):
        toy_task.run(toy_task.config(), tmp_path)


@pytest.mark.parametrize(
    "recipe, stage, changes, says",
    [
        (
            cbst,
            "labels_0",
            {"cap": 0.5},
            "cap=0.5: rule='class_balanced' does not read it, 'quanti",
        ),
        (
            fda,
            "mbt_0",
            {"keep_every": 4},
            "keep_every=4: rule='quantile' does not read it, 'top' a",
        ),
    ],
)
def test_what_a_rule_of_pseudo_labels_does_not_read_is_refused(recipe, stage, changes, says):
    config = recipe.get_config()[stage]
    config.update(changes)
    with pytest.raises(SettingError, match=f"^{says}"):
        pseudo_labels.init(None, None, config=config, model=None)


def test_a_number_that_is_no_class_is_named():
    config = ConfigDict({"never": (0, 3, 9)})
    with pytest.raises(SettingError, match=r"never=\(0, 3, 9\): 3, 9: no such class; .* 0 to 2, "):
        check_classes(config, "never", 3)
    check_classes(config, "never", 10)
