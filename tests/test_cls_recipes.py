"""Every stage of the classification recipes can be set up: its patterns meet parameters, its settings agree with each other."""

import importlib

import jax
import jax.numpy as jnp
import pytest

from configs import cls_base
from dajax.methods import METHODS
from dajax.models.build import build_model

ONE_SOURCE = [(name, f"{variant}{network}") for name in cls_base.BASELINES for variant, network in (
    ("digits", ""), ("office31,root=DIR", ""), ("office31,root=DIR", ",network=can"))]
RECIPES = [
    *ONE_SOURCE, ("compare_cls", "digits"), ("compare_cls", "office31,root=DIR"), ("compare_cls", "visda2017,root=DIR"),
    ("can", "domainnet,root=DIR"), ("can", "tfds,source=mnist,target=svhn_cropped"),
    ("mscan", "digits"), ("mscan", "domainnet,root=DIR"), ("mscan", "office31,root=DIR,source=amazon+dslr"),
]


@pytest.mark.parametrize("name, argument", RECIPES)
def test_its_stages_can_be_set_up(name, argument):
    config = importlib.import_module(f"configs.{name}").get_config(argument)
    config.model.update(backbone="resnet_small", widths=(4, 8, 8))
    counts = {"source": 3, "target": 3, "sources": len(config.data.source.split("+"))}
    images = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
    for stage in (config[stage] for stage in config.stages):
        method, model = METHODS[stage.method], build_model(config.model, stage, num_classes=4)
        state = jax.eval_shape(lambda rng, x: method.init(rng, x, config=stage, model=model, num_images=counts), jax.random.key(0), images)
        assert state.params["classifier"]["backbone"]
    assert "/" not in config.name and ":" not in config.name, "names the workdir"


def test_the_baselines_own_networks_are_tllibs():
    config = importlib.import_module("configs.dann").get_config("office31,root=DIR")
    assert config.model.bottleneck == 256 and config.model.backbone == "resnet50" and config.dann.steps == 20_000
    assert importlib.import_module("configs.mcd").get_config("digits").model.head_widths == (1024, 1024)
    with pytest.raises(ValueError, match="known: own, can"):
        cls_base.parse("digits,network=cans")
