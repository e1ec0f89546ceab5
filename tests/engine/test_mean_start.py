"""A stage that begins with several networks: what it may name, and what it begins with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipes
from ml_collections import ConfigDict

from dajax.engine import init_from, stage_checks
from dajax.engine.checkpoint import Checkpoints
from dajax.errors import UserError
from dajax.methods import interface, pseudo_labels
from dajax.models.mean_of_networks import MeanOfNetworks
from dajax.settings import starts_of
from dajax.state import TrainState
from dajax.tasks.segmentation import setup


def config_with(**starts):
    config = recipes.get_config("fda")
    for name, start in starts.items():
        with config.unlocked(), config.ignore_type():
            config[name].init_from = start
    return config


def test_the_recipes_stages_may_begin_so():
    stage_checks.check_before_data(config_with())
    assert starts_of("") == () and starts_of("a") == ("a",) and starts_of(["a", "b"]) == ("a", "b")


@pytest.mark.parametrize(
    "starts, says",
    [
        ({"mbt_0": ()}, r"config.mbt_0.init_from=\(\): expected names of stages before it, or ''"),
        ({"sst1_01": ("fda_01", "fda_05")}, "config.sst1_01.init_from=.* a mean is not trained"),
        (
            {"mbt_0": ("fda_01", "sst1_01")},
            "config.mbt_0.init_from='sst1_01' is not a stage before",
        ),
        (
            {"mbt_0": ("fda_01", "runs/a/b")},
            "init_from='runs/a/b' is not a stage before it; stages",
        ),
    ],
)
def test_what_cannot_be_averaged_is_one_line(starts, says):
    with pytest.raises(UserError, match=says):
        stage_checks.check_before_data(config_with(**starts))


def test_a_mean_is_evaluated_and_other_pseudo_labels_are_not():
    config = config_with(mbt_1="sst1_01")
    assert interface.is_evaluated(pseudo_labels, config.mbt_0)
    assert not interface.is_evaluated(pseudo_labels, config.mbt_1)


def test_the_rounds_before_a_mean_are_those_of_its_first_network():
    config = config_with()
    assert setup._earlier_rounds(config, "mbt_1") == ("mbt_0",)
    assert setup._earlier_rounds(config, "mbt_0") == ()


def networks(values):
    """A state of one network, of one array and one statistic."""
    one = {"w": jnp.full(3, float(values))}
    return TrainState.create(
        params={"segmenter": one},
        batch_stats={"segmenter": {"mean": one["w"] + 10.0}},
        opt_state={},
    )


def test_a_stage_begins_with_the_networks_in_the_order_of_their_names(tmp_path):
    own = dict(predict_with="student", teacher=dict(momentum=0.0), init_from="")
    config = ConfigDict({"a": own, "b": own, "mean": own | dict(init_from=("b", "a"))})
    for number, name in enumerate(("a", "b")):
        with Checkpoints(tmp_path / name / "checkpoints", keep=1) as checkpoints:
            checkpoints.save(networks(number).replace(step=jnp.asarray(1)), {})
            checkpoints.wait()
    names = MeanOfNetworks(None, 2).names
    template = jax.tree.map(jnp.zeros_like, networks(0))
    template = template.replace(
        params={"segmenter": dict.fromkeys(names, template.params["segmenter"])},
        batch_stats={"segmenter": dict.fromkeys(names, template.batch_stats["segmenter"])},
    )
    begun = init_from.begin(template, config, "mean", tmp_path)
    for name, value in zip(names, (1.0, 0.0), strict=True):
        np.testing.assert_array_equal(begun.params["segmenter"][name]["w"], np.full(3, value))
        found = begun.batch_stats["segmenter"][name]["mean"]
        np.testing.assert_array_equal(found, np.full(3, value + 10.0))
